"""Builds the package from settings.ini: that file says everything, this one only hands it on."""
from configparser import ConfigParser
from pathlib import Path
import setuptools

ini = ConfigParser(delimiters=['='])
ini.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
lib = cfg['lib_path']
extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}
minors = range(int(cfg['min_python'].split('.')[1]), 15)

setuptools.setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    long_description=Path('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Science/Research',
                 'Natural Language :: English',
                 'Topic :: Scientific/Engineering :: Image Processing',
                 *(f'Programming Language :: Python :: 3.{m}' for m in minors)],
    packages=[lib], package_data={lib: ['py.typed', 'assets/*', 'assets/*/*', 'recipes/*.yaml', 'recipes/*/*.yaml']},
    include_package_data=False, python_requires=f">={cfg['min_python']}", install_requires=cfg['requirements'].split(),
    extras_require=extras, zip_safe=False,
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': [f'{lib}={lib}._modidx:d']},
)

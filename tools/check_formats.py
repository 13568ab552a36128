"""Do the files of a folder open in other programs? Round trips by their own readers, mask for mask.

    pip install supervision datumaro label-studio-converter fiftyone   # none is needed otherwise
    python tools/check_formats.py [--pictures 6]

Labels scenes of the small world with `tcl_segment --save masks,coco,instances`, and gives the two joint json files to

* pycocotools' COCO class: every mask must equal that of the label file, pixel for pixel;
* supervision's DetectionDataset.from_coco: the same, pixel for pixel;
* from there to YOLO's text files of polygons (as_yolo), and back by from_yolo. A polygon can't hold a hole or a part
  of one
  pixel, so here the intersection over union of all masks is printed; and
* from there to Pascal VOC's folder of boxes (as_pascal_voc) and back: every box must be there;
* datumaro, CVAT's own converter, from COCO's layout (annotations/instances_default.json, images/default/): pixel for
  pixel;
* from there to CVAT's xml of polygons and back, with the intersection over union of all masks once more;
* FiftyOne's reader of COCO, which makes a Detection of each annotation: pixel for pixel. Its data sets live in a
  MongoDB server, which it fetches when it is first used, so what comes after the reader is left out; and
* Label Studio's converter: its reader of COCO for the boxes, every one. That reader knows masks as polygons only, and
  ours are run lengths, which hold every pixel. So the masks come to Label Studio as brush strokes, from the PNG files
  of `--save masks`, and back: pixel for pixel.

Exit code 1 when something differs.
"""
import argparse, json, logging, shutil, sys, tempfile
from contextlib import redirect_stdout
from pathlib import Path
import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from tcl_nb.segment import tcl_segment
from tcl_nb.smallworld import SmallWorld

def labelled(folder, n):
    "Write scenes and their masks → the folder's label maps by the pictures' names"
    world = SmallWorld.load()
    (folder/'photos'/'more').mkdir(parents=True)
    for i in range(n):
        pixels = world.scenes('seen', 1, i, 128).image[0].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder/'photos'/('more' if i % 2 else '.')/f'{i}.png')
    words = world.split('seen').names
    tcl_segment([str(folder/'photos'), *words, '--model', 'small', '--out', str(folder/'masks'), '--save',
                 'labels,masks,coco,instances'])
    files = sorted((folder/'photos').rglob('*.png'))
    def found(path):
        picture = path.relative_to(folder/'photos')
        return picture.as_posix(), np.array(Image.open(folder/'masks'/picture.with_name(f'{path.stem}_labels.png')))
    return dict(map(found, files))

def drawn(masks, classes, shape):
    "Masks and their classes, from 0 → a label map, from 1; each pixel once"
    out = np.zeros(shape, np.uint8)
    for mask, k in zip(masks, classes):
        if out[mask].any(): sys.exit('two masks have the same pixel')
        out[mask] = k + 1
    return out

def by_pycocotools(path, labels):
    "Masks of a json file against label maps → number of masks"
    with redirect_stdout(None): read = COCO(path)
    for number, image in read.imgs.items():
        marks = read.imgToAnns[number]
        masks = [read.annToMask(mark) == 1 for mark in marks]
        same = drawn(masks, [mark['category_id'] - 1 for mark in marks],
                     labels[image['file_name']].shape) == labels[image['file_name']]
        if not same.all(): sys.exit(f"{path}: the masks of {image['file_name']} differ")
    if len(read.imgs) != len(labels): sys.exit(f'{path}: {len(read.imgs)} pictures of {len(labels)}')
    return len(read.anns)

def by_supervision(path, folder, labels):
    "The same with supervision's reader → its data set"
    import supervision as sv
    read = sv.DetectionDataset.from_coco(str(folder/'photos'), str(path), force_masks=True)
    for name, _, found in read:
        truth = labels[Path(name).relative_to(folder/'photos').as_posix()]
        masks = found.mask if len(found) else []
        if not (drawn(masks, found.class_id, truth.shape) == truth).all():
            sys.exit(f'supervision: the masks of {name} differ')
    return read

def through_yolo(read, folder):
    "As polygons and back → (polygons, intersection over union of all masks together, in percent)"
    import supervision as sv
    read.as_yolo(str(folder/'yolo'/'images'), str(folder/'yolo'/'labels'), str(folder/'yolo'/'data.yaml'))
    back = sv.DetectionDataset.from_yolo(str(folder/'yolo'/'images'), str(folder/'yolo'/'labels'),
                                         str(folder/'yolo'/'data.yaml'), force_masks=True)
    if back.classes != read.classes: sys.exit('YOLO: other classes')
    maps = [{Path(name).name: [found.mask[found.class_id == k].any(0) for k in range(len(read.classes))]
             for name, _, found in one if len(found)} for one in (read, back)]
    both = [(a, b) for name in maps[0] for a, b in zip(maps[0][name], maps[1][name])]
    lines = sum(len(p.read_text().splitlines()) for p in (folder/'yolo'/'labels').glob('*.txt'))
    return lines, 100*sum((a & b).sum() for a, b in both)/sum((a | b).sum() for a, b in both)

def through_voc(read, folder):
    "As boxes and back → number of boxes"
    import supervision as sv
    read.as_pascal_voc(str(folder/'voc'/'images'), str(folder/'voc'/'annotations'))
    back = sv.DetectionDataset.from_pascal_voc(str(folder/'voc'/'images'), str(folder/'voc'/'annotations'))
    count = [sum(len(found) for _, _, found in one) for one in (read, back)]
    if count[0] != count[1]: sys.exit(f'Pascal VOC: {count[1]} boxes of {count[0]}')
    return count[1]

def by_datumaro(path, folder, labels):
    "The same with datumaro's reader, which wants COCO's own layout of folders → (its data set, number of masks)"
    import datumaro as dm
    root = folder/f'as_coco_{path.stem}'
    shutil.copytree(folder/'photos', root/'images'/'default')
    (root/'annotations').mkdir()
    shutil.copy(path, root/'annotations'/'instances_default.json')
    read = dm.Dataset.import_from(str(root), 'coco_instances')
    if len(read) != len(labels): sys.exit(f'datumaro: {len(read)} pictures of {len(labels)}')
    number = 0
    for item in read:
        marks = [mark for mark in item.annotations if mark.type == dm.AnnotationType.mask]
        truth = labels[f'{item.id}.png']
        masks = [mark.image.astype(bool) for mark in marks]
        if not (drawn(masks, [mark.label for mark in marks], truth.shape) == truth).all():
            sys.exit(f'datumaro: the masks of {item.id} differ')
        number += len(marks)
    return read, number

def through_cvat(read, folder, labels):
    "As CVAT's polygons and back → (polygons, intersection over union of all classes' pixels together, in percent)"
    import datumaro as dm
    logging.disable(logging.WARNING) # CVAT's xml has no place for 'is_crowd', and datumaro says so for each mask
    read.transform('masks_to_polygons')
    read.export(str(folder/'cvat'), 'cvat', save_media=True)
    back = dm.Dataset.import_from(str(folder/'cvat'), 'cvat')
    polygons = sum(mark.type == dm.AnnotationType.polygon for item in back for mark in item.annotations)
    back.transform('polygons_to_masks')
    both = either = 0
    for item in back:
        truth = labels[f'{item.id}.png']
        for k in range(1, truth.max() + 1):
            masks = [mark.image.astype(bool) for mark in item.annotations
                     if mark.type == dm.AnnotationType.mask and mark.label == k - 1]
            found = np.any(masks, 0) if masks else np.zeros(truth.shape, bool)
            both += (found & (truth == k)).sum()
            either += (found | (truth == k)).sum()
    return polygons, 100*both/either

def by_fiftyone(path, labels):
    "The same with FiftyOne's reader → number of masks"
    from fiftyone.utils.coco import load_coco_detection_annotations
    _, names, _, images, marks = load_coco_detection_annotations(str(path))
    if len(images) != len(labels): sys.exit(f'FiftyOne: {len(images)} pictures of {len(labels)}')
    number = 0
    for key, image in images.items():
        truth = labels[image['file_name']]
        masks, classes = [], []
        for mark in marks.get(key, []):
            found = mark.to_detection(truth.shape[::-1], names, load_segmentation=True)
            left, top = (round(share*side) for share, side in zip(found.bounding_box, truth.shape[::-1]))
            whole = np.zeros(truth.shape, bool)
            whole[top:top+found.mask.shape[0], left:left+found.mask.shape[1]] = found.mask
            masks.append(whole)
            classes.append(mark.category_id - 1)
        if not (drawn(masks, classes, truth.shape) == truth).all():
            sys.exit(f"FiftyOne: the masks of {image['file_name']} differ")
        number += len(masks)
    return number

def boxes_to_label_studio(path, folder):
    "A json file's boxes by Label Studio's reader of COCO → number of boxes"
    from label_studio_converter.imports.coco import convert_coco_to_ls
    own = json.loads(path.read_text())
    for mark in own['annotations']: del mark['segmentation'] # it knows polygons only
    (folder/'boxes.json').write_text(json.dumps(own))
    with redirect_stdout(None): convert_coco_to_ls(str(folder/'boxes.json'), str(folder/'tasks.json'))
    tasks = json.loads((folder/'tasks.json').read_text())
    found = [mark for task in tasks for mark in task['annotations'][0]['result']]
    def pixels(mark):
        width, height = mark['original_width'], mark['original_height']
        scale = dict(x=width, y=height, width=width, height=height)
        return [round(mark['value'][k]*side/100) for k, side in scale.items()]
    if sorted(map(pixels, found)) != sorted(mark['bbox'] for mark in own['annotations']):
        sys.exit('Label Studio: other boxes')
    return len(found)

def strokes_of_label_studio(folder, labels):
    "Mask files as Label Studio's brush strokes and back → number of masks"
    from label_studio_converter.brush import decode_rle, image2annotation
    number = 0
    for name, truth in labels.items():
        stem = (folder/'masks'/name).with_suffix('')
        for path in sorted(stem.parent.glob(f'{stem.name}_*_mask.png')):
            k = int(path.name.split('_')[1])
            mark = image2annotation(str(path), str(k), 'brush', 'image')['result'][0]
            size = mark['original_height'], mark['original_width'], 4
            mask = np.reshape(decode_rle(mark['value']['rle']), size)[..., 3] > 0
            if not (mask == (truth == k)).all(): sys.exit(f'Label Studio: the mask {path.name} differs')
            number += bool(mask.any())
    return number

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--pictures', type=int, default=6)
    args = ap.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        labels = labelled(folder, args.pictures)
        for kind in ('coco', 'instances'):
            n = by_pycocotools(folder/'masks'/f'{kind}.json', labels)
            print(f'{kind}.json by pycocotools: {n} masks of {len(labels)} pictures, every pixel as in the label files')
        read = by_supervision(folder/'masks'/'coco.json', folder, labels)
        print(f'coco.json by supervision: {sum(len(found) for _, _, found in read)} masks, every pixel the same')
        read = by_supervision(folder/'masks'/'instances.json', folder, labels)
        print(f'instances.json by supervision: {sum(len(found) for _, _, found in read)} masks, every pixel the same')
        print('to YOLO and back: {} polygons, IoU {:.1f} %'.format(*through_yolo(read, folder)))
        print(f'to Pascal VOC and back: {through_voc(read, folder)} boxes')
        for kind in ('coco', 'instances'):
            read, n = by_datumaro(folder/'masks'/f'{kind}.json', folder, labels)
            print(f'{kind}.json by datumaro: {n} masks, every pixel the same')
        print('to CVAT and back: {} polygons, IoU {:.1f} %'.format(*through_cvat(read, folder, labels)))
        for kind in ('coco', 'instances'):
            n = by_fiftyone(folder/'masks'/f'{kind}.json', labels)
            print(f'{kind}.json by FiftyOne: {n} masks, every pixel the same')
        n = boxes_to_label_studio(folder/'masks'/'instances.json', folder)
        print(f"instances.json by Label Studio's converter: {n} boxes, all the same")
        n = strokes_of_label_studio(folder, labels)
        print(f"to Label Studio's brush strokes and back: {n} masks, every pixel the same")

if __name__ == '__main__': main()

"""A page that plays a clip and its reconstruction: scrub, turn, one over the other; no network."""

import html
import json

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.storage import atomic

MAX_FRAMES = 512


def write_animation(path, original: Pose, reconstruction: Pose, title: str) -> None:
    """Writes one HTML file with the points of both poses in it.

    Both normalised, with the hands at their wrists, at the original's frame rate; up to MAX_FRAMES.
    """
    clips = [_clip(pose) for pose in (original, reconstruction)]
    content = {
        "fps": original.fps,
        "limbs": original.skeleton.limbs,
        "colors": ["#" + bytes(color).hex() for color in original.skeleton.colors],
        "clips": clips,
    }
    # "</" would end the script that the data stand in.
    data = json.dumps(content, separators=(",", ":")).replace("</", "<\\/")
    atomic.write_text(path, PAGE.replace("@TITLE@", html.escape(title)).replace("@DATA@", data))


def _clip(pose: Pose) -> list:
    """Frames of points: [x, y, z] in hundredths of a percent of a shoulder width, 0 if missing."""
    data, mask = pose.data[:MAX_FRAMES, :, : pose.skeleton.space_dims], pose.mask[:MAX_FRAMES]
    depth = np.zeros((*data.shape[:2], 3))
    depth[..., : data.shape[-1]] = data[..., :3]
    numbers = np.round(depth * 1000).astype(int)
    return [
        [0 if missing else point for point, missing in zip(frame, gone, strict=True)]
        for frame, gone in zip(numbers.tolist(), mask.tolist(), strict=True)
    ]


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title><style>
body { font: 15px system-ui, sans-serif; margin: 1rem auto; max-width: 62rem; color: #222; }
canvas { width: 100%; border: 1px solid #ddd; cursor: grab; touch-action: none; }
#bar { display: flex; gap: .8rem; align-items: center; } #time { flex: 1; }
</style></head><body><h1>@TITLE@</h1>
<canvas id="view" width="1000" height="520"></canvas>
<div id="bar"><button id="play">Pause</button><input id="time" type="range" min="0" value="0">
<span id="frame"></span><label><input id="over" type="checkbox"> one over the other</label></div>
<p>Left the original, right its reconstruction from tokens. Drag to turn, wheel to zoom.</p>
<script id="data" type="application/json">@DATA@</script><script>
const data = JSON.parse(document.getElementById('data').textContent);
const get = id => document.getElementById(id), view = get('view'), pen = view.getContext('2d');
const length = data.clips[0].length;
let frame = 0, playing = true, yaw = 0, pitch = 0, zoom = 1, last = null, begun = null;
get('time').max = length - 1;
const seen = data.clips[0].flat().filter(p => p), all = seen.length ? seen : [[0, 0, 0]];
const range = i => { const v = all.map(p => p[i]).sort((a, b) => a - b);
  return [v[Math.floor(v.length * .002)], v[Math.ceil(v.length * .998) - 1]]; };
const spans = [range(0), range(1), range(2)], middle = spans.map(s => (s[0] + s[1]) / 2);
const extent = Math.max(spans[0][1] - spans[0][0], spans[1][1] - spans[1][0], 1);
function project(p, side) {
  const [x, y, z] = p.map((c, i) => c - middle[i]);
  const a = x * Math.cos(yaw) + z * Math.sin(yaw), b = z * Math.cos(yaw) - x * Math.sin(yaw);
  const c = y * Math.cos(pitch) - b * Math.sin(pitch), scale = 480 / extent * zoom;
  return [side + a * scale, view.height / 2 + c * scale];
}
function person(points, side, alpha) {
  const places = points.map(p => p ? project(p, side) : null);
  pen.globalAlpha = alpha;
  for (const [a, b] of data.limbs) if (places[a] && places[b]) {
    pen.strokeStyle = data.colors[b]; pen.lineWidth = 2; pen.beginPath();
    pen.moveTo(...places[a]); pen.lineTo(...places[b]); pen.stroke();
  }
  places.forEach((p, i) => { if (p) { pen.fillStyle = data.colors[i];
    pen.fillRect(p[0] - 1.5, p[1] - 1.5, 3, 3); } });
}
function show() {
  pen.clearRect(0, 0, view.width, view.height);
  const over = get('over').checked, half = view.width / 2;
  person(data.clips[0][frame], over ? half : half / 2, over ? .35 : 1);
  person(data.clips[1][frame], over ? half : 1.5 * half, 1);
  get('time').value = frame; get('frame').textContent = `${frame + 1} / ${length}`;
}
function tick(now) {
  if (begun === null) begun = now - frame / data.fps * 1000;
  if (playing) { frame = Math.floor((now - begun) / 1000 * data.fps) % length; show(); }
  requestAnimationFrame(tick);
}
get('play').onclick = () => { playing = !playing; begun = null;
  get('play').textContent = playing ? 'Pause' : 'Play'; };
get('time').oninput = e => { frame = +e.target.value; begun = null; show(); };
get('over').onchange = show;
view.onpointerdown = e => { last = [e.clientX, e.clientY]; view.setPointerCapture(e.pointerId); };
view.onpointerup = () => { last = null; };
view.onpointermove = e => { if (!last) return;
  yaw += (e.clientX - last[0]) / 150; pitch += (e.clientY - last[1]) / 150;
  last = [e.clientX, e.clientY]; show(); };
view.onwheel = e => { e.preventDefault(); zoom *= Math.exp(-e.deltaY / 500); show(); };
requestAnimationFrame(tick);
</script></body></html>
"""

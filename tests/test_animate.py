"""Animations: what each frame shows, what the files hold; structure, not pixels."""

import base64
import io
import json
import re
import shutil
import zlib

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.errors import ShapeError

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex
from PIL import Image

from tinygrad_opt.viz.animation.film import save_gif
from tinygrad_opt.viz.animation.moving import Heat, Line, Words
from tinygrad_opt.viz.plots.descents import animate_descent, descend_1d, outcome, plot_descent
from tinygrad_opt.viz.plots.heatmaps import folded, folds, reduced, shades
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race
from tinygrad_opt.viz.plots.training_animation import TrainingRecorder, animate_training


@pytest.fixture(scope="module")
def training():
    x, y = tg.data.spiral(20, 3, rng=0)
    model = nn.MLP([2, 8, 3], rng=0)
    film = animate_training(model, x, y, loss=nn.cross_entropy, epochs=12, resolution=10,
                            optimizer=optim.Adam(model.parameters(), lr=0.05), frames=6)
    return model, x, y, film


def unpacked(page):
    """What the player in an HTML page is given: about the film, and its drawings."""
    about, drawn = (json.loads(re.search(rf'id="{name}">(.*?)</script>', page)[1])
                    for name in ("about", "drawn"))
    return about, json.loads(zlib.decompress(base64.b64decode(drawn)))


def test_the_last_frame_holds_the_trained_models_weights(training):
    model, _, _, film = training
    for name, p in model.parameters().items():
        np.testing.assert_array_equal(film.numbers[f"weights.{name}"][-1], reduced(p.data))


def test_updates_are_the_differences_of_weights():
    x, y = tg.data.spiral(20, 3, rng=0)
    model = nn.MLP([2, 4, 3], rng=0)
    film = animate_training(model, x, y, loss=nn.cross_entropy, epochs=5, resolution=8, frames=10,
                            optimizer=lambda p: optim.SGD(p, lr=0.5))
    weights, updates = (film.numbers[f"{k}.layers.0.weight"] for k in ("weights", "updates"))
    np.testing.assert_array_equal(updates[1:], np.diff(weights, axis=0))
    assert not updates[0].any() and updates[1].any()


def test_an_animated_training_is_the_training():
    x, y = tg.data.spiral(20, 3, rng=0)
    seen, plain = nn.MLP([2, 8, 3], rng=0), nn.MLP([2, 8, 3], rng=0)
    film = animate_training(seen, x, y, loss=nn.cross_entropy, epochs=8, resolution=8,
                            optimizer=lambda p: optim.Adam(p, lr=0.05, decay=0.1))
    opt, losses, rates = optim.Adam(plain.parameters(), lr=0.05, decay=0.1), [], []
    for _ in range(8):
        loss = nn.cross_entropy(plain(x), y)
        losses.append(float(loss))
        rates.append(opt.current_lr)
        loss.backward()
        opt.step()
        opt.zero_grad()
    assert film.numbers["loss"][1:].tolist() == losses
    assert film.numbers["lr"][1:].tolist() == rates
    for name, p in plain.parameters().items():
        np.testing.assert_array_equal(p.data, seen.parameters()[name].data)


def test_memory_is_bounded_and_the_last_epoch_is_there():
    x, y = tg.data.spiral(10, 2, rng=0)
    recorder = TrainingRecorder(nn.MLP([2, 3, 2], rng=0), x, y, frames=5, resolution=4)
    for epoch in range(1, 98):
        recorder.record(epoch, 1.0, 0.1, last=epoch == 97)
        assert len(recorder.rows) <= 10
    assert recorder.epochs[0] == 0 and recorder.epochs[-1] == 97
    assert recorder.film(size=(3, 3)).frames == 5


def test_the_last_epoch_stays_when_every_other_one_goes():
    x, y = tg.data.spiral(10, 2, rng=0)
    recorder = TrainingRecorder(nn.MLP([2, 3, 2], rng=0), x, y, frames=2, resolution=4)
    for epoch in (1, 2, 3, 5):
        recorder.record(epoch, 1.0, 0.1, last=epoch == 5)
    assert recorder.epochs == [0, 2, 5]


def test_fit_records_by_a_callback():
    x, y = tg.data.spiral(20, 3, rng=0)
    model = nn.MLP([2, 4, 3], rng=0)
    recorder = TrainingRecorder(model, x, y, frames=4, resolution=6)
    history = tg.fit(model, x, y, loss=nn.cross_entropy, epochs=3, callbacks=[recorder],
                     progress=False, seed=0)
    assert recorder.epochs == [0, 1, 2, 3]
    assert recorder.columns()["loss"][1:].tolist() == history["loss"]


def test_the_picture_has_regions_points_squares_and_curves(training):
    _, x, _, film = training
    assert film.frames == 6
    heats = [p for p in film.parts if isinstance(p, Heat)]
    assert len(heats) == 1 + 2 * 4                          # regions, weights and updates
    titles = [ax.get_title() for ax in film.figure.axes]
    assert {"loss", "accuracy", "learning rate"} <= set(titles)
    drawn = sum(len(c.get_offsets()) for ax in film.figure.axes for c in ax.collections)
    assert drawn == len(x)
    film.show(0)
    headline = next(p for p in film.parts if isinstance(p, Words))
    assert headline.text.get_text().startswith("epoch 0 ")
    curve = next(p for p in film.parts if isinstance(p, Line))
    assert len(curve.line.get_xdata()) == 1
    film.show(-1)
    assert len(curve.line.get_xdata()) == 6


def test_each_array_is_scaled_to_its_own_maximum():
    cells = shades(np.array([[[2.0, -1.0, 0.0]], [[0.0, 0.0, 0.0]]]), np.array([2.0, 0.0]))
    assert cells.tolist() == [[[30, 8, 15]], [[15, 15, 15]]]


def test_wide_arrays_are_cut_into_parts_below_each_other():
    assert [folds(2, 64), folds(1, 64), folds(16, 16), folds(1, 3)] == [3, 4, 1, 1]
    cells = np.arange(10, dtype=np.uint8).reshape(1, 2, 5)
    assert folded(cells, 2)[0].tolist() == [[0, 1, 2], [5, 6, 7], [3, 4, 15], [8, 9, 15]]


def test_the_film_shows_validation_classes_and_which_colour_is_positive():
    x, y = tg.data.spiral(20, 3, rng=0)
    model = nn.MLP([2, 4, 3], rng=0)
    recorder = TrainingRecorder(model, x, y, frames=4, resolution=6)
    history = tg.fit(model, x, y, loss=nn.cross_entropy, epochs=3, callbacks=[recorder],
                     progress=False, seed=0, validation_data=(x[:9], y[:9]), metrics=["accuracy"])
    film = recorder.film(title="short", size=(9.6, 5.4))
    for name in ("val_loss", "val_accuracy"):
        assert film.numbers[name][1:].tolist() == history[name] and np.isnan(film.numbers[name][0])
    words = [text.get_text() for ax in film.figure.axes
             for text in ax.texts + (ax.get_legend().get_texts() if ax.get_legend() else [])]
    assert {"class 0", "class 2", "training", "validation", "−", "+"} <= set(words)
    assert film.figure.bbox.size.tolist() == [960, 540]
    headline = next(p for p in film.parts if isinstance(p, Words))
    assert headline.words[-1].startswith("short   epoch 3")


def test_large_arrays_are_reduced_to_the_largest_of_each_block():
    big = np.zeros((130, 3))
    big[7, 2], big[8, 2] = -5.0, 4.0
    small = reduced(big)
    assert small.shape == (3, 44) and small[2, 2] == -5.0
    assert reduced(np.ones(200)).shape == (1, 50)


def test_a_gif_has_all_frames_and_holds_the_last(training, tmp_path):
    film = training[3]
    with Image.open(film.save(tmp_path / "new" / "a.gif", fps=10)) as gif:
        assert gif.n_frames == 6 and gif.size == (640, 480)
        durations = []
        for i in range(6):
            gif.seek(i)
            durations.append(gif.info["duration"])
        assert durations == [100] * 5 + [2100] and gif.info["loop"] == 0


def test_a_gif_shows_what_was_drawn(tmp_path):
    frames = np.zeros((3, 20, 30, 3), np.uint8)
    for i in range(3):
        frames[i, :, 10 * i : 10 * i + 10] = [200, 50, 25]
    with Image.open(save_gif(frames, tmp_path / "a.gif")) as gif:
        for i in range(3):
            gif.seek(i)
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - frames[i]).max() <= 8


def test_the_page_of_a_gif_is_not_tinted(tmp_path):
    """Pillow takes a colour near white for white, where the palette holds both."""
    page, marks = np.full((1, 60, 60, 3), 255, np.uint8), np.arange(200, 256)
    page[0, 30, :56] = np.stack([marks, marks[::-1], np.full(56, 253)], axis=-1)
    page[0, :8, :8] = [248, 251, 253]
    with Image.open(save_gif(page, tmp_path / "a.gif")) as gif:
        assert gif.convert("RGB").getpixel((20, 20)) == (255, 255, 255)


def test_the_page_shows_the_frames_of_the_gif(training, ravine, tmp_path):
    """In a browser whose fonts may differ, so words and edges count for little."""
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        patient = 300_000                                   # milliseconds, on a busy machine
        browser = play.chromium.launch(executable_path=chromium, args=options, timeout=patient)
        for film in (training[3], animate_race(ravine, frames=4)):
            box, images = film.figure.bbox, list(film.images())
            tab = browser.new_page(reduced_motion="reduce", viewport={
                "width": int(box.width) + 32, "height": int(box.height) + 200})
            tab.set_default_timeout(patient)
            complaints = []
            tab.on("pageerror", lambda error, to=complaints: to.append(str(error)))
            tab.goto(film.save(tmp_path / "film.html").as_uri())
            tab.wait_for_function("document.getElementById('count').textContent.includes('/')")
            for frame in (0, film.frames - 1):
                tab.evaluate(f"at.value = {frame}; at.oninput()")
                shot = tab.locator("#film").screenshot()
                with Image.open(io.BytesIO(shot)) as image:
                    size = tuple(map(int, box.size))
                    seen = np.asarray(image.convert("RGB").resize(size)).astype(int)
                far = np.abs(seen - images[frame]).max(2)
                assert (far > 60).mean() < 0.06 and far.mean() < 8, (film, frame)
            tab.set_viewport_size({"width": 390, "height": 700})       # a telephone: all in view
            wide = "document.getElementById('film').getBoundingClientRect().width"
            assert 300 < tab.evaluate(wide) <= 358
            tab.click("#whole")
            assert tab.evaluate(wide) == 720 and tab.evaluate("document.body.scrollWidth") <= 390
            assert complaints == []
        browser.close()


def test_the_star_stands_above_all_that_comes_to_it():
    film = animate_race(race("ravine", {"Newton": np.array([[-7.0, 2.0], [0.0, 0.0]])}), frames=2)
    *_, last = film.images()
    x, y = film.figure.axes[0].transData.transform([0, 0])
    assert last[round(film.figure.bbox.height - y), round(x)].tolist() == [0xF0, 0xE4, 0x42]


def test_thin_lines_keep_their_colour(ravine, tmp_path):
    """That of the momentum's line and of the star, on a map of many greens and blues."""
    with Image.open(animate_race(ravine, frames=4, theme="dark").save(tmp_path / "a.gif")) as image:
        image.seek(image.n_frames - 1)
        seen = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for color in ([0xE6, 0x9F, 0x00], [0xF0, 0xE4, 0x42]):
        assert np.abs(seen - color).sum(1).min() <= 8


def test_drawing_only_what_moves_gives_the_same_pictures(training):
    film = training[3]
    *_, last = film.images()
    film.figure.canvas.draw()
    whole = np.asarray(film.figure.canvas.buffer_rgba())[..., :3].astype(int)
    assert np.mean(np.abs(whole - last) > 40) < 0.01         # spines may be over or under cells


def test_webp_and_png_and_numbers_save(training, tmp_path):
    film = training[3]
    with Image.open(film.save(tmp_path / "a.webp")) as webp:
        assert webp.n_frames == 6
    with Image.open(film.save(tmp_path / "a.png")) as png:
        assert png.size == (640, 480)
    arrays = np.load(film.save(tmp_path / "a.npz"))
    assert arrays["epoch"].tolist() == film.numbers["epoch"].tolist()
    with pytest.raises(ValueError, match=r"\.gif"):
        film.save(tmp_path / "a.mp4")


def test_the_page_holds_every_frame_and_asks_for_nothing(training):
    film = training[3]
    page = film.html()
    assert not re.findall(r"""(?:src|href)=["']?http|https?://""", page)
    about, (drawn,) = unpacked(page)
    assert about["frames"] == 6
    assert [about["width"], about["height"]] == pytest.approx([460.8, 345.6])      # points
    artists = [(part, artist) for part in film.parts for artist in part.artists]
    assert len(drawn["artists"]) == len(artists)
    for (part, artist), frames in zip(artists, drawn["artists"]):
        assert len(frames) == 6
        changed = [k for k in range(6) if frames[k] != 0]
        if isinstance(part, Heat):
            for k in changed:
                png = re.search(r"data:image/png;base64,([^\"]*)", frames[k])[1]
                with Image.open(io.BytesIO(base64.b64decode(re.sub(r"\s", "", png)))) as image:
                    seen = {tuple(c) for c in np.asarray(image.convert("RGB")).reshape(-1, 3)}
                assert {tuple(c) for c in part.colors[np.unique(part.cells[k])]} <= seen
        elif isinstance(part, Words):
            said = [re.search(r"<text[^>]*>(.*?)</text>", frames[k])[1] for k in changed]
            assert said == [w for k, w in enumerate(part.words) if k in changed]
        elif isinstance(part, Line):
            to = artist.axes.transData
            for k in changed:
                path = re.search(r' d="M ([^"]*?)"', frames[k])
                if path is None:                            # one point is no line
                    continue
                x, y = np.reshape([float(v) for v in re.findall(r"-?[\d.]+", path[1])],
                                  (-1, 2))[-1]
                end = to.transform(part.frames[k][-1]) * 0.72 * [1, -1] + [0, 345.6]
                np.testing.assert_allclose((x, y), end, atol=0.6)
        else:                                               # the points stand still
            assert changed == [0]


def test_saving_tells_how_far_it_is(training, tmp_path):
    for suffix in ("gif", "webp"):
        seen = []
        training[3].save(tmp_path / f"a.{suffix}", watch=lambda *a, seen=seen: seen.append(a))
        assert seen == [(i, 6) for i in range(1, 7)]


def test_the_numbers_hold_the_regions_of_every_frame(training):
    model, _, _, film = training
    regions, (left, right, bottom, top) = film.numbers["regions"], film.numbers["extent"]
    assert regions.shape == (len(film.numbers["epoch"]), 10, 10)
    corner = np.array([[left + 0.05 * (right - left), top + 0.05 * (bottom - top)]], np.float32)
    assert regions[-1, 0, 0] == np.argmax(model(corner).data)


def test_a_page_says_in_words_how_the_film_ends(ravine, training):
    about, _ = unpacked(animate_race(ravine, frames=3).html())
    assert about["alt"].startswith("race on ravine. step 30. SGD wild diverged")
    about, _ = unpacked(training[3].html())
    assert re.match(r"training. epoch 12 +loss [\d.]+ +accuracy [\d.]+%. ", about["alt"])


def test_no_word_and_no_digit_of_a_text_is_lost_on_the_page():
    run = descend_1d(lambda x: x**2, optim.SGD(lr=0.125), 1.123, 3, label="of 2.625  and 1.1255")
    _, (drawn,) = unpacked(animate_descent(run, frames=4).html())
    assert ">of 2.625  and 1.1255</text>" in drawn["still"]
    assert re.search(r">step 0 +x = 1\.123 ", str(drawn["artists"]))
    for place in re.findall(r'd="([^"]*)"', drawn["still"]):
        assert not re.search(r"\.\d{3}", place)             # but places are hundredths of a point


def test_a_page_can_hold_the_dark_film_too(ravine):
    film = animate_race(ravine, frames=3, theme="auto")
    page = film.html()
    _, drawn = unpacked(page)
    assert len(drawn) == 2 and drawn[0]["still"] != drawn[1]["still"]
    assert "prefers-color-scheme" in page and film.theme.name == "light"
    alone = animate_race(ravine, frames=3, theme="dark").html()
    assert unpacked(alone)[1] == drawn[1:] and "--page:#FFFFFF" not in alone


def test_notebooks_get_a_frame_of_its_own(training):
    text = training[3]._repr_html_()
    assert text.startswith("<iframe srcdoc=") and "<svg" not in text        # escaped
    assert training[3].figure._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_animated_is_refused_before_training():
    model = nn.MLP([3, 4, 2], rng=0)
    before = model.state_dict()
    options = {"loss": nn.cross_entropy, "optimizer": optim.Adam}
    with pytest.raises(ShapeError, match="two features"):
        animate_training(model, np.zeros((5, 3)), np.zeros(5, int), **options)
    flat = nn.MLP([2, 4, 2], rng=0)
    x, y = tg.data.spiral(5, 2, rng=0)
    with pytest.raises(TypeError, match="optimizer"):
        animate_training(flat, x, y, loss=nn.cross_entropy, optimizer="adam")
    with pytest.raises(ValueError, match="theme"):
        animate_training(flat, x, y, theme="blue", **options)
    with pytest.raises(ValueError, match="scale"):
        animate_training(flat, x, y, scale="all", **options)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


# ---- races and descents --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ravine():
    return race("ravine", {"SGD wild": optim.SGD(lr=1.3), "Momentum": optim.Momentum(lr=0.1),
                           "Adam": optim.Adam(lr=0.3)}, steps=30)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_race_draws_every_path_as_it_was(ravine, theme):
    ax, curve, scale = plot_race(ravine, theme=theme).axes
    lines = {len(line.get_xdata()): line for line in ax.lines}
    np.testing.assert_array_equal(np.column_stack(lines[31].get_data()), ravine["Adam"].points)
    assert ax.get_xlim() == ravine.surface.x and ax.get_ylim() == ravine.surface.y
    assert "diverged" in " ".join(t.get_text() for t in ax.texts)
    assert curve.get_ylim()[1] < 1e4                        # the lost run did not break the axes
    assert curve.get_yscale() == "log"
    heights = [float(t.get_text().replace(",", "")) for t in scale.get_yticklabels()]
    assert heights == sorted(heights) and len(heights) == 4
    star = next(line for line in ax.lines if line.get_marker() == "*")
    assert star.zorder == max(artist.zorder for artist in ax.get_children())
    assert ravine.surface.formula in ax.get_title()


def test_optimizers_look_the_same_on_every_picture(ravine):
    def colors(figure):
        return {t.get_text(): h.get_color() for t, h in
                zip(figure.legends[0].get_texts(), figure.legends[0].legend_handles)}

    one, two = colors(plot_race(ravine)), colors(animate_race(ravine, frames=3).figure)
    assert one == two
    assert one["Adam"] == "#D55E00" and one["Momentum"] == "#E69F00"


def test_arrows_are_of_one_optimizer(ravine):
    plain, arrows = plot_race(ravine), plot_race(ravine, arrows="Momentum")
    assert len(arrows.axes[0].lines) > len(plain.axes[0].lines)
    assert "−gradient of Momentum" in [t.get_text() for t in arrows.legends[0].get_texts()]
    with pytest.raises(ValueError, match="SGD wild, Momentum, Adam"):
        plot_race(ravine, arrows="Lion")


def test_an_animated_race_counts_its_steps_and_names_the_lost(ravine):
    film = animate_race(ravine, frames=16, arrows="Adam")
    step, lost = (p.words for p in film.parts if isinstance(p, Words))
    assert film.frames == 16 and step[0] == "step 0" and step[-1] == "step 30"
    assert lost[0] == "" and "SGD wild diverged" in lost[-1]
    _, (drawn,) = unpacked(film.html())
    assert all(abs(float(v)) < 1e6 for v in re.findall(r"-?\d+\.?\d*", " ".join(
        re.findall(r' d="M ([^"]*)"', str(drawn["artists"])))))


def test_a_descent_shows_tangent_and_step():
    run = descend_1d(lambda x: x**2, optim.SGD(lr=0.1), 1.5, 20, label="lr 0.1")
    film = animate_descent(run, frames=50)
    assert film.frames == 21
    film.show(3)
    tangent = next(p for p in film.parts if isinstance(p, Line)
                   and to_hex(p.line.get_color()) == film.theme.gradient.lower())
    (x0, x1), (y0, y1) = tangent.line.get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(run.track.gradients[3, 0])
    figure = plot_descent([run, run])
    assert len(figure.axes) == 2 and "lr 0.1" in figure.axes[0].get_title()


def test_a_film_shows_more_steps_where_more_happens():
    run = descend_1d(lambda x: x**2, optim.SGD(lr=0.1), 1.5, 300)
    shown = [int(words.split()[1].rstrip(":")) for words in animate_descent(
        run, frames=60).parts[-1].words]
    assert shown[0] == 0 and shown[-1] == 300 and shown == sorted(set(shown)) and len(shown) < 60
    moving = int((np.abs(run.track.points[:, 0]) > 0.01).sum())     # it stands still for the rest
    assert moving < 30 and sum(step < moving for step in shown) >= 0.6 * len(shown)
    colors = plot_descent(run).axes[0].collections[0].get_facecolors()
    assert np.abs(colors[moving] - colors[0]).max() > 0.5


def test_the_view_of_a_descent_that_explodes_holds_its_first_steps():
    run = descend_1d(lambda x: x**2, optim.SGD(lr=1.6), 1.5, 40)
    assert run.track.diverged
    low, high = plot_descent(run).axes[0].get_xlim()
    assert -4 < low < -3.3 and 7.26 < high < 8               # but not -15.97
    settled = descend_1d(lambda x: x**2, optim.SGD(lr=0.1), 1.5, 40)
    assert plot_descent(settled).axes[0].get_xlim() == (-2, 2)


def test_the_outcome_of_a_descent_is_told():
    def told(lr, steps=40):
        return outcome(descend_1d(lambda x: x**2, optim.SGD(lr=lr), 1.5, steps))

    assert told(0.25) == "settled at x = 0.00 in 6 steps"
    assert told(0.001).startswith("still on its way")
    assert told(0.9999).startswith("jumps about")
    assert told(1.5).startswith("exploded at step")

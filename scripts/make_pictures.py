"""Draw the pictures of the README and the gallery into docs/: ``python scripts/make_pictures.py``.

The gallery is what the demos draw at full size; it needs the extra `viz`, and for pictures of live
pages Playwright and Chromium.
"""

import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import tinygrad_opt as tg

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS.parent / "demos"))


def network():
    """The graph of the spiral network and its loss, after some training and one backward pass."""
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.05)
    points, labels = tg.Tensor(x, name="points"), tg.Tensor(y, name="labels")
    for step in range(200):
        loss = tg.nn.cross_entropy(model(points), labels)
        opt.zero_grad()
        loss.backward()
        if step < 199:
            opt.step()
    tg.draw(loss, name="loss", engine="builtin").save(DOCS / "network.svg")


def from_demo(name, *files, **options):
    """Run a demo and keep some of what it writes; what has no suffix is drawn light and dark."""
    with tempfile.TemporaryDirectory() as folder:
        import_module(name).main(out=folder, **options)
        for file in files:
            twins = [f"{file}_{theme}.png" for theme in ("light", "dark")]
            for twin in [file] if "." in file else twins:
                shutil.copy(Path(folder) / twin, DOCS)


LEARNED = """() => { for (let k = 0; k < 60; k++) {
  for (let i = 0; i < 40; i++) lab.step(); tell(); } draw(); }"""
RACED = "() => { byId('all').click(); for (let i = 0; i < 60; i++) forward(); show(); }"


def live_pages():
    """Live pages in the midst of what they do, light and dark."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, page, act in (("playground", tg.playground(), LEARNED),
                                ("race_live", tg.live.race(), RACED)):
            path = page.save(Path(folder) / f"{name}.html")
            for scheme in ("light", "dark"):
                tab = browser.new_page(viewport={"width": 1240, "height": 830},
                                       color_scheme=scheme)
                tab.goto(path.as_uri())
                tab.wait_for_selector("html[data-ready]", state="attached")
                tab.evaluate(act)
                smaller(tab.screenshot(), DOCS / f"{name}_{scheme}.png")
        browser.close()


def smaller(png, path):
    """Write a picture with 256 colours, near enough to its own."""
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, kmeans=8, dither=Image.Dither.NONE).save(path, optimize=True)


def main():
    DOCS.mkdir(exist_ok=True)
    network()
    from_demo("compiled_step", "compiled_step.svg", quick=True)
    from_demo("optimizer_race", "race_beale")
    from_demo("descent_1d", "descent_1d", quick=True)
    from_demo("training_animation", "training_adam_light.gif", "training_adam_dark.gif")
    from_demo("sigmoid_neuron", "neuron_optimizers", "neuron_sparse")
    from_demo("batch_sizes", "batch_curves")
    from_demo("loss_landscape", "landscape_path")
    from_demo("learning_rates", "learning_rates")
    from_demo("optimizers_on_spiral", "spiral")
    from_demo("going_wrong", "going_wrong/vanishing_gradients")
    from_demo("write_names", "write_names", "attention")
    from_demo("vae", "vae")
    from_demo("diffusion", "diffusion")
    from_demo("reinforce", "reinforce")
    live_pages()


if __name__ == "__main__":
    main()

"""Draw the pictures of the README and the gallery into docs/: ``python scripts/make_pictures.py``.

The gallery is what the demos draw at full size; it needs the extra `viz`.
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
    """Run a demo and keep some of what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        import_module(name).main(out=folder, **options)
        for file in files:
            shutil.copy(Path(folder) / file, DOCS)


def main():
    DOCS.mkdir(exist_ok=True)
    network()
    from_demo("compiled_step", "compiled_step.svg", quick=True)
    from_demo("optimizer_race", "race_beale_light.png")
    from_demo("descent_1d", "descent_1d.png", quick=True)
    from_demo("training_animation", "training_adam.gif")
    from_demo("sigmoid_neuron", "neuron_optimizers.png", "neuron_sparse.png")
    from_demo("batch_sizes", "batch_curves.png")
    from_demo("loss_landscape", "landscape_path.png")
    from_demo("learning_rates", "learning_rates.png")
    from_demo("optimizers_on_spiral", "spiral.png")
    from_demo("going_wrong", "going_wrong/vanishing_gradients.png")
    from_demo("write_names", "write_names_light.png", "attention_light.png")
    from_demo("vae", "vae_light.png")
    from_demo("diffusion", "diffusion_light.png")
    from_demo("reinforce", "reinforce_light.png")


if __name__ == "__main__":
    main()

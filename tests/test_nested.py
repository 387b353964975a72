from lstmgan_dist.nested import leaves


def test_leaves_are_named_by_their_paths():
    phases = ({"kind": "likelihood", "steps": 5}, {"kind": "adversarial", "betas": [0.5, 0.9]})
    assert leaves({"seed": 1, "phases": phases}) == {
        "seed": 1,
        "phases.0.kind": "likelihood",
        "phases.0.steps": 5,
        "phases.1.kind": "adversarial",
        "phases.1.betas.0": 0.5,
        "phases.1.betas.1": 0.9,
    }


def test_what_is_empty_is_a_leaf():
    assert leaves({"filters": {}, "sources": (), "name": "", "none": None}) == {
        "filters": {},
        "sources": (),
        "name": "",
        "none": None,
    }

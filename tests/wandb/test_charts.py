"""Custom charts that a run names are found wherever its config has them."""

from __future__ import annotations

import wandb

from engine.wandb.charts import own_charts


def test_charts_of_people_are_told_and_those_of_every_server_are_not():
    table = wandb.Table(columns=["x"], data=[[1]])
    logged = {}
    for key, name in {"a": "ann/curve", "b": "wandb/line/v0", "c": "team/other"}.items():
        chart = wandb.plot_table(name, table, {"x": "x"})
        chart.set_key(key)
        logged[key] = chart.spec.config_value
    older = {"d": {"id": "ann/old", "historyFieldSettings": {}}, "e": {"id": "wandb/bar"}}
    assert list(own_charts({"visualize": logged, "viz": older})) == ["ann/curve", "team/other", "ann/old"]


def test_a_config_that_makes_no_sense_has_none():
    assert list(own_charts({"visualize": {"a": None, "b": {"panel_config": 3}}, "viz": ["x"]})) == []

"""The demonstration: from two sections to domains and predictions, on the olfactory bulb pair."""

from __future__ import annotations

from napari_stomics.workflow.recipes import Recipe

DEMO_RECIPE = """\
napari_stomics: 1
study:
  sample: olfactory-bulb
steps:
- method: registration/automatic
  inputs: {source: Rep12, target: Rep11}
- method: registration/landmarks
  inputs: {source: Rep12, target: Rep11}
- method: alignment/fgw
  inputs: {source: Rep12, target: Rep11}
- method: transfer/plan-labels
  inputs: {plan: Rep12_to_Rep11_fgw, source: Rep12, target: Rep11, column: layer}
- method: fusion/smooth
  inputs: {section: Rep11}
- method: domains/gmm
  inputs: {section: Rep11, embedding: smooth, annotation: layer}
  params: {n_domains: 5}
- method: prediction/ridge
  inputs: {train: [Rep11], test: Rep12}
"""


def demo_recipe() -> Recipe:
    """Return the recipe that ``napari-stomics demo`` runs."""
    import yaml

    return Recipe.model_validate(yaml.safe_load(DEMO_RECIPE))

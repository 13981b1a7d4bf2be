"""The factors of an embedding: a list, what each is made of, and each on the tissue."""

from __future__ import annotations

import html

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QTextBrowser, QVBoxLayout, QWidget

from napari_stomics.core.fusion import Embedding
from napari_stomics.docks.domain_choice import ResultChoice
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user

_ROWS = 8
_NAMED = 3
_TOP = 10


class FactorPanel(QWidget):
    """Components of a stored embedding, with their features and the weights of the modalities.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self.choice = ResultChoice(bench, Embedding.kind, "Embeddings")
        self.told = wrapped_label()
        self.list = QListWidget()
        self.list.setAccessibleName("Factors")
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.features = QTextBrowser()
        self.features.setAccessibleName("What the factor is made of")
        self.features.setMinimumHeight(160)
        self.weight = NameCombo()
        self.weight.setAccessibleName("Modality")
        self.weights = in_row(
            self.weight, button("Show its weight", self._on_weight, "At every spot.")
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.choice, self.told, self.list, self.features, self.weights):
            column.addWidget(widget)
        self.list.itemClicked.connect(self._on_clicked)
        self.list.itemActivated.connect(self._on_clicked)
        self.choice.changed.connect(self.show_embedding)
        self.show_embedding()

    def refresh(self) -> None:
        """Offer the embeddings that the study holds now."""
        self.choice.refresh()

    def show_embedding(self) -> None:
        """List the factors of the chosen embedding, and the weights that it has."""
        found: Embedding | None = self.choice.result
        factors = 0 if found is None or not found.loadings else found.values.shape[1]
        self.list.clear()
        for factor in range(factors):
            assert found is not None
            text = f"{factor + 1}  {', '.join(self._named(found, factor))}"
            item = QListWidgetItem(text, self.list)
            item.setToolTip(text)
        self.list.setVisible(factors > 0)
        self.features.setVisible(False)
        row = max(self.list.sizeHintForRow(0), self.list.fontMetrics().lineSpacing() + 2)
        self.list.setFixedHeight(min(max(factors, 1), _ROWS) * row + 6)
        self._show_weights(found)
        self.told.setText(_told(found))

    @staticmethod
    def _named(found: Embedding, factor: int) -> list[str]:
        """The strongest features of a factor, taken in turn from the modalities."""
        from napari_stomics.layers.factors import made_of

        ranked = [made_of(loadings, factor, _NAMED) for loadings in found.loadings.values()]
        turns = [part[i][0] for i in range(_NAMED) for part in ranked if i < len(part)]
        return turns[: max(_NAMED, len(ranked))]

    def _show_weights(self, found: Embedding | None) -> None:
        names = found.modalities if found is not None and found.spot_weights.shape[1] else ()
        self.weight.set_names(list(names), next(iter(names), None))
        self.weights.setVisible(bool(names))

    # -- showing -----------------------------------------------------------------------------

    def show_factor(self, factor: int) -> None:
        """Show a factor on the tissue, and what it is made of."""
        from napari_stomics.layers.factors import made_of, show_factor

        found: Embedding | None = self.choice.result
        if found is None:
            return
        parts = []
        for name, loadings in found.loadings.items():
            rows = "".join(
                f"<tr><td>{html.escape(feature)}</td><td align='right'>&nbsp;&nbsp;{value:.3g}"
                "</td></tr>"
                for feature, value in made_of(loadings, factor, _TOP)
            )
            parts.append(f"<p><b>{html.escape(name)}</b></p><table>{rows}</table>")
        self.features.setHtml(f"<p><b>Factor {factor + 1}</b></p>{''.join(parts)}")
        self.features.setVisible(True)
        with told_to_user("Show factor"):
            show_factor(
                self._bench.viewer, self._bench.session.study, found, self.choice.key, factor
            )

    def show_weight(self, modality: str) -> None:
        """Show the weight of a modality at every spot, on top of the embedding."""
        from napari_stomics.layers.domains import show_part
        from napari_stomics.layers.factors import WEIGHT

        found: Embedding | None = self.choice.result
        if found is not None:
            every = tuple(f"{WEIGHT}{name}" for name in found.modalities)
            others = ("components", "disagreement")
            show_part(self._bench.viewer, self.choice.key, f"{WEIGHT}{modality}", (*every, *others))

    def _on_clicked(self, item: QListWidgetItem) -> None:
        self.show_factor(self.list.row(item))

    def _on_weight(self) -> None:
        self.show_weight(self.weight.currentText())


def _told(found: Embedding | None) -> str:
    if found is None:
        return "Fuse modalities first; methods with factors then list them here."
    weights = ", ".join(f"{name} {share:.0%}" for name, share in found.weights.items())
    parts = [f"Weights: {weights}." if weights else ""]
    if found.loadings:
        parts.append("Click a factor to see it on the tissue and what it is made of.")
    else:
        parts.append("This embedding has no factors to look at.")
    return " ".join(part for part in parts if part)

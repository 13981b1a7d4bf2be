"""Results as napari layers and back."""

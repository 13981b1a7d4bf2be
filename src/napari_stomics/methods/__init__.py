"""The science: plain functions on arrays, free of napari, Qt and SpatialData."""

TABLE: dict[str, str] = {
    "registration/landmarks": "napari_stomics.methods.registration.landmarks:register_landmarks",
    "registration/automatic": "napari_stomics.methods.registration.automatic:register_images",
    "registration/nuclei": "napari_stomics.methods.registration.nuclei:register_nuclei",
    "alignment/fgw": "napari_stomics.methods.alignment.fgw:align_fgw",
    "alignment/fgw-dense": "napari_stomics.methods.alignment.dense:align_dense",
    "alignment/moscot": "napari_stomics.methods.alignment.moscot:align_moscot",
    "stack/pairwise": "napari_stomics.methods.alignment.stack:align_stack",
    "stack/paste-center": "napari_stomics.methods.alignment.center:make_centre",
    "quality/alignment": "napari_stomics.methods.alignment.quality:judge_alignment",
    "transfer/plan-labels": "napari_stomics.methods.alignment.transfer:transfer_labels",
    "transfer/plan-values": "napari_stomics.methods.alignment.values:transfer_values",
    "transfer/aggregate": "napari_stomics.methods.alignment.aggregate:aggregate",
    "mapping/ot": "napari_stomics.methods.mapping.ot:map_cells",
    "fusion/smooth": "napari_stomics.methods.fusion.smooth:fuse_smooth",
    "fusion/joint-nmf": "napari_stomics.methods.fusion.joint_nmf:fuse_joint_nmf",
    "fusion/integrative-nmf": "napari_stomics.methods.fusion.integrative_nmf:fuse_integrative_nmf",
    "fusion/neighbourhood": "napari_stomics.methods.fusion.neighbourhood:fuse_neighbourhoods",
    "fusion/wnn": "napari_stomics.methods.fusion.wnn:fuse_wnn",
    "fusion/late": "napari_stomics.methods.fusion.late:fuse_late",
    "fusion/mofa": "napari_stomics.methods.fusion.mofa:fuse_mofa",
    "fusion/attention": "napari_stomics.methods.fusion.nets.attention:fuse_attention",
    "fusion/contrastive": "napari_stomics.methods.fusion.nets.contrastive:fuse_contrastive",
    "fusion/attention-autoencoder": (
        "napari_stomics.methods.fusion.nets.attention_autoencoder:fuse_attention_autoencoder"
    ),
    "fusion/image-graph": "napari_stomics.methods.fusion.nets.image_graph:fuse_image_graph",
    "fusion/graph-vae": "napari_stomics.methods.fusion.nets.graph_vae:fuse_graph_vae",
    "fusion/image-expression": (
        "napari_stomics.methods.fusion.nets.image_expression:fuse_image_expression"
    ),
    "domains/gmm": "napari_stomics.methods.domains.gmm:find_domains",
    "domains/edit": "napari_stomics.methods.domains.edit:edit_domains",
    "embedding/file": "napari_stomics.methods.fusion.embedding_file:read_embedding_file",
    "scores/domains": "napari_stomics.methods.scores.domains:score_domains",
    "markers/domains": "napari_stomics.methods.markers.domains:find_markers",
    "morphology/features": "napari_stomics.methods.morphology.features:morphology_features",
    "morphology/plane": "napari_stomics.methods.morphology.plane:morphology_plane",
    "prediction/ridge": "napari_stomics.methods.prediction.ridge:predict_ridge",
}
"""Every built-in method: ``task/name`` to ``module:function``. One line adds a method."""

"""MCTformer's classifier: DeiT-S with one class token a class, and a 3×3 convolution over its patch tokens.

    cls_token [1, K, 384]     K class tokens before the patch tokens
    pos_embed                 of K class tokens and a square grid, or ``pos_embed_cls`` and ``pos_embed_pat`` apart
    patch_embed.proj          16 px patches: stride 16, 384 channels
    blocks.N.*                twelve transformer blocks of six heads: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2
    norm                      the last normalisation: its patch tokens are the features
    head                      3×3 convolution 384 → K, padded, whose response is the PatchCAM

LPCAM stands in the place of the PatchCAM: it clusters the patch tokens. No matrix multiplies them in a 3×3
convolution; what stands for w is its response to a constant map, the sum over the kernel. Away from the border, the mean
of A_k over a map that varies little is the mean of the PatchCAM without its bias.

The number of classes is part of the network (its class tokens); it is read from the checkpoint. Pixels are
normalised with ImageNet's mean and std. Views are rounded to whole patches, position embeddings of patches are
resampled (`lpcam.backbones.patches`).

Departs from the paper: the maps are not multiplied by the attention of class tokens to patches, nor refined by the
affinity of patches.
"""

/* family.c - see family.h. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const cbe_family families[] = {
    {
        .name = {"llama", "llama"},
        .tensors = {
            [CBE_FORMAT_GGUF] = {
                .optional_prefix = "",
                .block_prefix = "blk.",
                .roles = {
                    [CBE_ROLE_EMBEDDING] = "token_embd.weight",
                    [CBE_ROLE_FINAL_NORM] = "output_norm.weight",
                    [CBE_ROLE_UNEMBEDDING] = "output.weight",
                    [CBE_ROLE_ATTENTION_NORM] = "attn_norm.weight",
                    [CBE_ROLE_QUERY] = "attn_q.weight",
                    [CBE_ROLE_KEY] = "attn_k.weight",
                    [CBE_ROLE_VALUE] = "attn_v.weight",
                    [CBE_ROLE_ATTENTION_OUT] = "attn_output.weight",
                    [CBE_ROLE_MLP_NORM] = "ffn_norm.weight",
                    [CBE_ROLE_GATE] = "ffn_gate.weight",
                    [CBE_ROLE_UP] = "ffn_up.weight",
                    [CBE_ROLE_DOWN] = "ffn_down.weight",
                },
                .ignored = {"attn_rot_embd.weight"},
                .interleaved_rotary = true,
            },
            [CBE_FORMAT_HUGGING_FACE] = {
                .optional_prefix = "model.",
                .block_prefix = "layers.",
                .roles = {
                    [CBE_ROLE_EMBEDDING] = "embed_tokens.weight",
                    [CBE_ROLE_FINAL_NORM] = "norm.weight",
                    [CBE_ROLE_UNEMBEDDING] = "lm_head.weight",
                    [CBE_ROLE_ATTENTION_NORM] = "input_layernorm.weight",
                    [CBE_ROLE_QUERY] = "self_attn.q_proj.weight",
                    [CBE_ROLE_KEY] = "self_attn.k_proj.weight",
                    [CBE_ROLE_VALUE] = "self_attn.v_proj.weight",
                    [CBE_ROLE_ATTENTION_OUT] = "self_attn.o_proj.weight",
                    [CBE_ROLE_MLP_NORM] = "post_attention_layernorm.weight",
                    [CBE_ROLE_GATE] = "mlp.gate_proj.weight",
                    [CBE_ROLE_UP] = "mlp.up_proj.weight",
                    [CBE_ROLE_DOWN] = "mlp.down_proj.weight",
                },
                .ignored = {"self_attn.rotary_emb.inv_freq"},
            },
        },
    },
};
/* clang-format on */

enum { N_FAMILIES = sizeof families / sizeof *families };

const cbe_family *cbe_family_find(cbe_model_format format, const char *name, size_t length)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const char *known = families[i].name[format];
        if (strlen(known) == length && memcmp(known, name, length) == 0) return &families[i];
    }
    return NULL;
}

void cbe_family_list(cbe_model_format format, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < N_FAMILIES && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
                                 families[i].name[format]);
}

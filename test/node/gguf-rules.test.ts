/**
 * What becomes of a GGUF's tensors, by names that llama.cpp has (src/llama-arch.cpp,
 * tools/mtmd/clip-impl.h) and the operation that each is used in.
 */
import { describe, expect, test } from "vitest";
import {
  ggufRole,
  whyNotInBlocks,
} from "../../src/formats/roles/gguf-rules.ts";

const kindOf = (name: string, dimensions = [256, 256]) =>
  ggufRole(name, dimensions).kind;

const list = (names: string) => names.trim().split(/\s+/);

/** Used in ADD, MUL, DIV, SCALE, ROPE, SSM_CONV, SSM_SCAN, RWKV_WKV6, IM2COL, conv_2d, or added after GET_ROWS. */
const ELEMENTWISE = list(`
  blk.0.attn_norm blk.0.attn_norm_2 blk.0.ffn_norm blk.0.ffn_norm_exps blk.0.attn_q_norm blk.0.attn_k_norm
  blk.0.attn_q_a_norm blk.0.attn_kv_a_norm blk.0.attn_sub_norm blk.0.ffn_sub_norm blk.0.post_attention_norm
  blk.0.post_ffw_norm blk.0.post_ffw_norm_1 blk.0.pre_ffw_norm_2 blk.0.layer_output_norm blk.0.layer_output_scale
  blk.0.ssm_norm blk.0.ssm_dt_norm blk.0.ssm_b_norm blk.0.indexer.k_norm blk.0.nextn.enorm blk.0.nextn.hnorm
  blk.0.nextn.shared_head_norm output_norm token_embd_norm cls.norm enc.output_norm dec.blk.0.cross_attn_norm
  per_layer_proj_norm blk.0.laurel_post_norm blk.0.altup_router_norm
  token_types rope_freqs rope_factors_long rope_factors_short
  enc.blk.0.attn_rel_b dec.blk.0.attn_rel_b dec.blk.0.cross_attn_rel_b
  blk.0.ssm_conv1d blk.0.ssm_conv1d_q blk.0.ssm_conv1d_k blk.0.ssm_conv1d_v blk.0.shortconv.conv
  conv1d posnet.0.conv1 posnet.0.conv2 posnet.0.norm1 convnext.0.dw convnext.0.norm convnext.0.gamma
  blk.0.ssm_a blk.0.ssm_d
  blk.0.time_mix_lerp_x blk.0.time_mix_lerp_w blk.0.time_mix_lerp_k blk.0.time_mix_lerp_v blk.0.time_mix_lerp_r
  blk.0.time_mix_lerp_g blk.0.time_mix_lerp_fused blk.0.time_mix_first blk.0.time_mix_decay blk.0.time_mix_w0
  blk.0.time_mix_v0 blk.0.time_mix_a0 blk.0.time_mix_k_k blk.0.time_mix_k_a blk.0.time_mix_r_k blk.0.time_mix_ln
  blk.0.channel_mix_lerp_k blk.0.channel_mix_lerp_r
  blk.0.attn_compressor_ape blk.0.indexer_compressor_ape blk.0.ffn.act blk.0.hc_attn_scale blk.0.ffn_gate_tid2eid
  v.position_embd a.position_embd v.sam.pos_embd v.patch_embd v.sam.patch_embd v.sam.neck.0 v.sam.net_2
  v.sam.blk.0.attn.pos_h v.sam.blk.0.attn.pos_w v.blk.0.attn_rel_pos.rel_pos_h v.blk.0.ln1 v.blk.0.ln2 v.blk.0.ls1
  v.blk.0.out_scale v.pre_ln v.post_ln v.sam.blk.0.pre_ln v.blk.0.1.bn1 v.blk.0.1.pw_exp.bn v.blk.0.1.dw_mid.conv
  v.conv_stem.conv v.blk.0.1.attn.key.down_conv v.blk.0.1.layer_scale.gamma mm.input_norm mm.soft_emb_norm
  mm.input_projection mm.a.norm_pre a.conv1d.1 a.conv2d.0 a.conv1d.0.norm a.blk.0.conv_dw a.blk.0.conv_norm
  a.blk.0.norm_conv a.blk.0.per_dim_scale mm.model.peg.0 adapter.conv resampler.ln_q v.stage.0.down.ln v.deepstack.5.norm
`);

/** Used in MUL_MAT or MUL_MAT_ID, and of a size that pays. */
const MATRICES = list(`
  blk.0.attn_q blk.0.attn_k blk.0.attn_v blk.0.attn_qkv blk.0.attn_output blk.0.attn_gate blk.0.attn_q_a blk.0.attn_q_b
  blk.0.attn_kv_a_mqa blk.0.attn_kv_b blk.0.attn_kv blk.0.attn_k_b blk.0.attn_v_b blk.0.attn_output_a
  blk.0.ffn_gate blk.0.ffn_up blk.0.ffn_down blk.0.ffn_gate.3 blk.0.ffn_gate_shexp blk.0.ffn_down_shexp
  blk.0.ffn_gate_exps blk.0.ffn_up_exps blk.0.ffn_down_exps blk.0.ffn_gate_up_exps blk.0.ffn_gate_chexps
  blk.0.ffn_latent_down blk.0.ssm_in blk.0.ssm_x blk.0.ssm_dt blk.0.ssm_out blk.0.ssm_ba blk.0.ssm_f_a blk.0.ssm_g_b
  blk.0.shortconv.in_proj blk.0.shortconv.out_proj blk.0.time_mix_key blk.0.time_mix_value blk.0.time_mix_receptance
  blk.0.time_mix_gate blk.0.time_mix_output blk.0.channel_mix_key blk.0.channel_mix_value
  blk.0.channel_mix_receptance blk.0.inp_gate blk.0.proj blk.0.vis_gate blk.0.indexer.attn_q_b blk.0.nextn.eh_proj
  enc.blk.0.attn_q enc.blk.0.ffn_up dec.blk.0.attn_o dec.blk.0.cross_attn_k posnet.0.attn_q convnext.0.pw1
  cls dense_2 fc v.blk.0.attn_out v.blk.0.ffn_up v.sam.blk.0.attn.qkv v.sam.blk.0.mlp.lin1 mm.0 mm.up mm.model.mlp.0
  mm.model.fc v.deepstack.5.fc1 a.blk.0.linear_pos a.blk.0.conv_pw1 mm.a.mlp.1 resampler.proj adapter.linear.dense_h_to_4h
`);

/** Quantizable, and left by llama.cpp's own quantizer. */
const LEFT = list(`
  blk.0.ffn_gate_inp blk.0.ffn_gate_inp_shexp position_embd altup_proj altup_unembd_proj blk.0.altup_correct_coef
  blk.0.altup_predict_coef blk.0.altup_router blk.0.laurel_l blk.0.laurel_r per_layer_model_proj
  blk.0.time_mix_w1 blk.0.time_mix_w2 blk.0.time_mix_v1 blk.0.time_mix_a2 blk.0.time_mix_g1 blk.0.time_mix_decay_w1
  blk.0.time_mix_decay_w2 blk.0.indexer.k_proj blk.0.indexer.q_proj mm.patch_merger a.rvq.codebook mm.a.code_embd
`);

const VOCABULARY = list(`
  output token_embd per_layer_token_embd blk.60.nextn.shared_head_head blk.60.nextn.embed_tokens
`);

test.each([
  ["floats", ELEMENTWISE],
  ["matrix", MATRICES],
  ["left", LEFT],
  ["vocabulary", VOCABULARY],
] as const)("%s", (kind, names) => {
  const wrong = names
    .map((name) => [name, kindOf(`${name}.weight`)])
    .filter(([, got]) => got !== kind);
  expect(wrong).toEqual([]);
});

describe("whatever its name", () => {
  test("a tensor of one dimension is never packed, nor one whose others are 1", () => {
    expect(kindOf("blk.0.attn_q.weight", [256])).toBe("floats");
    expect(kindOf("blk.0.attn_q.weight", [256, 1, 1])).toBe("floats");
    expect(kindOf("blk.0.attn_q.weight", [256, 1, 2])).toBe("matrix");
  });

  test("what is no weight stays: biases, sinks, positions of a resampler", () => {
    for (const name of [
      "blk.0.attn_q.bias",
      "blk.0.attn_sinks",
      "blk.0.ssm_a",
      "resampler.query",
      "v.class_embd",
      "v.patch_embd.weight.1",
    ])
      expect(kindOf(name)).toBe("floats");
  });

  test("four dimensions are a convolution's", () => {
    expect(kindOf("v.some.weight", [32, 32, 3, 8])).toBe("floats");
    expect(kindOf("blk.0.ffn_up_exps.weight", [64, 64, 8])).toBe("matrix");
  });

  test("rows must be whole blocks", () => {
    expect(whyNotInBlocks([64, 3])).toBeUndefined();
    expect(whyNotInBlocks([48, 3])).toBe(
      "rows that are not whole blocks of 32, which GGUF cannot pad, but of 48",
    );
    expect(whyNotInBlocks([0, 3])).toContain("but of 0");
  });
});

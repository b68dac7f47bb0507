/*
 * Logits of an encoder-decoder by llama.cpp's library, which its host for Node does not run.
 *
 *   encoder-decoder LIBRARIES MODEL VOCABULARY ENCODED DECODED
 *
 * LIBRARIES is the folder of libggml and libllama; ENCODED and DECODED are token ids with commas between. Writes f32
 * [decoded tokens, vocabulary]. Parameters stay as the library has them by default, so their layout need not be known:
 * a struct of more than 16 bytes goes through memory, and the library reads no more of it than it has.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { char bytes[2048]; } parameters;
typedef struct {
  int32_t n_tokens;
  int32_t *token;
  float *embd;
  int32_t *pos, *n_seq_id;
  int32_t **seq_id;
  int8_t *logits;
} batch;

static void *library(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!handle) { fprintf(stderr, "%s\n", dlerror()); exit(2); }
  return handle;
}

static void *symbol(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (!found) { fprintf(stderr, "no %s\n", name); exit(3); }
  return found;
}

static int parse(char *list, int32_t *tokens) {
  int count = 0;
  for (char *at = list; *at; count++) {
    tokens[count] = strtol(at, &at, 10);
    if (*at == ',') at++;
  }
  return count;
}

static void quiet(int level, const char *text, void *data) {
  (void)data;
  if (level >= 4) fputs(text, stderr);
}

int main(int argc, char **argv) {
  if (argc != 8) return 1;
  library(argv[1], "libggml-base.so");
  library(argv[1], argv[2]);
  library(argv[1], argv[3]);
  ((void (*)(void (*)(int, const char *, void *), void *))symbol("llama_log_set"))(quiet, NULL);
  ((void (*)(const char *))symbol("ggml_backend_load_all_from_path"))(argv[1]);
  ((void (*)(void))symbol("llama_backend_init"))();
  parameters (*modelDefaults)(void) = symbol("llama_model_default_params");
  parameters (*contextDefaults)(void) = symbol("llama_context_default_params");
  void *(*load)(const char *, parameters) = symbol("llama_model_load_from_file");
  void *(*open)(void *, parameters) = symbol("llama_init_from_model");
  batch (*of)(int32_t *, int32_t) = symbol("llama_batch_get_one");
  int32_t (*encode)(void *, batch) = symbol("llama_encode");
  int32_t (*decode)(void *, batch) = symbol("llama_decode");
  float *(*logits)(void *, int32_t) = symbol("llama_get_logits_ith");

  void *model = load(argv[4], modelDefaults());
  if (!model) return 4;
  void *context = open(model, contextDefaults());
  if (!context) return 5;
  // More would wait for each other in circles where others are at work.
  ((void (*)(void *, int32_t, int32_t))symbol("llama_set_n_threads"))(context, 1, 1);
  int vocabulary = atoi(argv[5]);
  int32_t encoded[512], decoded[512];
  int inputs = parse(argv[6], encoded), outputs = parse(argv[7], decoded);
  if (encode(context, of(encoded, inputs)) != 0) return 6;
  for (int i = 0; i < outputs; i++) {
    if (decode(context, of(decoded + i, 1)) != 0) return 7;
    fwrite(logits(context, -1), sizeof(float), vocabulary, stdout);
  }
  return 0;
}

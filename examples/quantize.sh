#!/bin/sh
# A tensor to MXFP4 and back, then the same as a job, with curl alone.
# Needs an edge: `npm start`, or its URL in MXFP4_EDGE_URL (and MXFP4_EDGE_TOKEN where it asks for one).
set -eu
url=${MXFP4_EDGE_URL:-http://127.0.0.1:8787}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

call() {
  curl -sS --fail-with-body -H "Authorization: Bearer ${MXFP4_EDGE_TOKEN:-}" "$@"
}

# 64 KiB as 128 rows of 128 f32; zeros, so that the answer is known.
head -c 65536 /dev/zero > "$folder/x.raw"

call -X POST --data-binary "@$folder/x.raw" -H 'Content-Type: application/octet-stream' \
  -o "$folder/x.safetensors" "$url/v1/quantize?dtype=f32&shape=128,128&rounding=stochastic&seed=1"
echo "quantized: $(wc -c < "$folder/x.safetensors" | tr -d ' ') bytes"

call -X POST --data-binary "@$folder/x.safetensors" -H 'Content-Type: application/octet-stream' \
  -o "$folder/back.safetensors" "$url/v1/dequantize"
tail -c 65536 "$folder/back.safetensors" | cmp - "$folder/x.raw" && echo "decoded: zeros again"

# A file of any size: store it, begin a job, wait, fetch the result.
name="example-$$"
call -o /dev/null -T "$folder/x.safetensors" "$url/v1/files/$name"
call -o /dev/null -X POST -H 'Content-Type: application/json' "$url/v1/jobs" \
  -d "{\"operation\": \"dequantize\", \"source\": \"$name\", \"result\": \"$name-f32\", \"clientKey\": \"$name\"}"
until call "$url/v1/jobs/$name" | grep -q '"state":"finished"'; do sleep 0.2; done
call "$url/v1/files/$name-f32" | cmp - "$folder/back.safetensors" && echo "job: the same bytes"

call -X DELETE "$url/v1/jobs/$name"
call -X DELETE "$url/v1/files/$name"
call -X DELETE "$url/v1/files/$name-f32"

/** The Worker's bindings that the objects need: each other, and the bucket. */
export type ObjectBindings = {
  BUCKET: R2Bucket;
  RUN: DurableObjectNamespace;
  PARAMETER_SHARD: DurableObjectNamespace;
  SUBTREE: DurableObjectNamespace;
  DIRECTORY: DurableObjectNamespace;
};

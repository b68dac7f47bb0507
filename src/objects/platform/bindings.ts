/** What the objects need of the Worker's bindings: each other, and the bucket. */
export type ObjectBindings = {
  BUCKET: R2Bucket;
  RUN: DurableObjectNamespace;
  PARAMETER_SHARD: DurableObjectNamespace;
  SUBTREE: DurableObjectNamespace;
  DIRECTORY: DurableObjectNamespace;
};

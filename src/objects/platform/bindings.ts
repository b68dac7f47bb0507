/** What the objects need of the Worker's bindings: each other. */
export type ObjectBindings = {
  RUN: DurableObjectNamespace;
  PARAMETER_SHARD: DurableObjectNamespace;
  DIRECTORY: DurableObjectNamespace;
};

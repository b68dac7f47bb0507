/** Every route of the API, in the order of its description. */
import { DATASET_ROUTES } from "./datasets/dataset-routes.ts";
import { TOKEN_ROUTES } from "./datasets/token-routes.ts";
import type { Route } from "./declaration/route.ts";
import { FILE_ROUTES } from "./files/file-routes.ts";
import { FILE_UPLOAD_ROUTES } from "./files/file-upload-routes.ts";
import { FOLDER_ROUTES } from "./files/folder-routes.ts";
import { GENERATION_ROUTES } from "./generation/generation-routes.ts";
import { JOB_ROUTES } from "./jobs/job-routes.ts";
import { RUN_ROUTES } from "./runs/run-routes.ts";
import { TRAINER_ROUTES } from "./runs/trainer-routes.ts";
import { descriptionOf, SERVICE_ROUTES } from "./service/service-routes.ts";
import { TENSOR_ROUTES } from "./tensors/tensor-routes.ts";

export const ROUTES: readonly Route[] = [
  ...SERVICE_ROUTES,
  descriptionOf(() => ROUTES),
  ...TENSOR_ROUTES,
  ...FILE_ROUTES,
  ...FILE_UPLOAD_ROUTES,
  ...FOLDER_ROUTES,
  ...JOB_ROUTES,
  ...DATASET_ROUTES,
  ...TOKEN_ROUTES,
  ...RUN_ROUTES,
  ...TRAINER_ROUTES,
  ...GENERATION_ROUTES,
];

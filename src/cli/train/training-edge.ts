/** The edge on which a run is trained: local or remote. */
import { messageOf } from "../../api/errors.ts";
import { hostname } from "node:os";
import pc from "picocolors";
import type { EdgeAddress } from "../edge-arguments.ts";
import {
  type JoinedThreads,
  joinThreads,
  trainerNames,
  trainersName,
} from "../joined-threads.ts";
import { Client } from "../../client/client.ts";
import { Mxfp4Edge } from "../../client/mxfp4-edge.ts";
import type { RunClient } from "../../client/run-client.ts";
import { type Running, startEdge, startTrainerHost } from "../../local/edge.ts";
import { isolateMib } from "../../local/isolate-mib.ts";

export type TrainingEdge = {
  client: Mxfp4Edge;
  /** URL of its pages. */
  url: string;
  /** Starts a run's trainers; a remote edge may have `hosted` already. */
  addTrainers(run: RunClient, hosted: number): Promise<void>;
  /** Rejects when no trainers are left. */
  lost: Promise<never>;
  /** Announces that it is about to close. */
  announceEnd(): void;
  /** Ends everything on this machine. */
  close(): Promise<void>;
};

type LocalEdgeOptions = {
  stateFolder: string;
  /** Number of trainers, each a process. */
  trainers: number;
  /** Number of trainers in this process. */
  threads: number;
  report: (line: string) => void;
  prepare: () => Promise<void>;
};

/** API and shards in one process; each trainer in another, or in a thread of this one. */
export async function localEdge({
  trainers,
  threads,
  ...options
}: LocalEdgeOptions): Promise<TrainingEdge> {
  const { stateFolder, report } = options;
  const edge = await startEdge({
    ...options,
    quiet: true,
    pages: true,
    isolateMib: isolateMib(),
  });
  const hosts: Running[] = [];
  const own = ownThreads({ baseUrl: edge.apiUrl, token: undefined }, report);
  let lose: (error: unknown) => void;
  const allLost = new Promise<never>((_, reject) => (lose = reject));
  return {
    client: new Mxfp4Edge({ baseUrl: edge.url }),
    url: edge.url,
    lost: Promise.race([edge.lost, allLost]),
    announceEnd: () => edge.announceEnd(),
    async addTrainers({ run }) {
      await Promise.all(
        Array.from({ length: trainers }, async () => {
          const host = await startTrainerHost({
            apiUrl: edge.apiUrl,
            stateFolder,
            report,
          });
          hosts.push(host);
          // The host's own API creates the trainer, which finds the run through the edge's.
          await new Client({ baseUrl: host.url }).run(run).addTrainers(1);
        }),
      );
      const losses = hosts.map((host) =>
        host.lost.catch((reason: unknown) => reason),
      );
      if (threads > 0) {
        const lost = own.join(run, threads);
        if (trainers > 0)
          void lost.then((error) => report(pc.red(messageOf(error))));
        losses.push(lost);
      }
      // If one is lost, the others take over its work.
      void Promise.all(losses).then(([error]) => lose(error));
    },
    async close() {
      await own.leave();
      await Promise.all([edge, ...hosts].map((each) => each.close()));
    },
  };
}

type RemoteEdgeOptions = {
  address: EdgeAddress;
  /** Number of trainers hosted by the edge. */
  trainers: number;
  /** Number of trainers in this process. */
  threads: number;
  report: (line: string) => void;
};

/** A running edge: with its own trainers, and threads of this machine. */
export function remoteEdge({
  address,
  trainers,
  threads,
  report,
}: RemoteEdgeOptions): TrainingEdge {
  const own = ownThreads(address, report);
  let lose: (error: unknown) => void;
  const lost = new Promise<never>((_, reject) => (lose = reject));
  return {
    client: new Mxfp4Edge(address),
    url: address.baseUrl,
    lost,
    announceEnd: () => {},
    async addTrainers(run, hosted) {
      if (trainers > hosted) await run.addTrainers(trainers - hosted);
      if (threads === 0) return;
      void own.join(run.run, threads).then((error) => {
        if (trainers === 0) lose(error);
        else report(pc.red(messageOf(error)));
      });
    },
    close: () => own.leave(),
  };
}

/** Trainers that are threads of this process. */
function ownThreads(
  address: EdgeAddress,
  report: (line: string) => void,
): {
  /** Resolves to their error, unless the run has ended. */
  join(run: string, count: number): Promise<unknown>;
  leave(): Promise<void>;
} {
  let joined: JoinedThreads | undefined;
  return {
    async join(run, count) {
      const names = trainerNames(trainersName(hostname()), count);
      joined = joinThreads({ ...address, run }, names, () => {}, report);
      try {
        await joined.ended;
      } catch (error) {
        return error;
      }
      return new Promise(() => {});
    },
    async leave() {
      joined?.leave();
      await joined?.ended.catch(() => {});
    },
  };
}

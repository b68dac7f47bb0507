/** Work that is interrupted, and the memory that it has meanwhile. */
import { expect, test } from "vitest";
import { Arena } from "../../src/kernels/arena.ts";
import { finish, type Steps, takeTurns } from "../../src/kernels/steps.ts";

const newArena = (): Arena =>
  new Arena(new WebAssembly.Memory({ initial: 1 }), 100);

/** Yields three times, and notes where it is. */
function* noted(name: string, notes: string[]): Steps<string> {
  for (let part = 0; part < 3; part++) {
    notes.push(`${name} ${part}`);
    yield;
  }
  return name;
}

test("in one go nothing comes between", () => {
  const notes: string[] = [];
  expect(finish(noted("a", notes))).toBe("a");
  expect(notes).toEqual(["a 0", "a 1", "a 2"]);
});

test("it is interrupted where there is a turn to take, and nowhere else", async () => {
  const notes: string[] = [];
  let yields = 0;
  const done = takeTurns(noted("a", notes), () => {
    if (++yields !== 2) return undefined;
    return Promise.resolve().then(() => void notes.push("turn"));
  });
  expect(notes).toEqual(["a 0", "a 1"]);
  expect(await done).toBe("a");
  expect(notes).toEqual(["a 0", "a 1", "turn", "a 2"]);
});

test("one is interrupted at a time: who comes meanwhile has it done in one go", async () => {
  const notes: string[] = [];
  const turn = () => Promise.resolve();
  const first = takeTurns(noted("a", notes), turn);
  const second = takeTurns(noted("b", notes), turn);
  expect(notes).toEqual(["a 0", "b 0", "b 1", "b 2"]);
  expect(await Promise.all([first, second])).toEqual(["a", "b"]);
  // It is over: the next is interrupted again.
  void takeTurns(noted("c", notes), turn);
  expect(notes.slice(4)).toEqual(["a 1", "a 2", "c 0"]);
});

test("what fails, in it or in its turn, gives its memory back, and keeps nobody from turns", async () => {
  const arena = newArena();
  const free = arena.scope(() => arena.alloc(64));
  const steps = (): Steps<void> =>
    arena.scopeOf(function* () {
      arena.alloc(64);
      yield;
      throw new Error("broken");
    });
  const lost = () => Promise.reject(new Error("no turn"));
  await expect(takeTurns(steps(), lost)).rejects.toThrow("no turn");
  await expect(takeTurns(steps(), () => undefined)).rejects.toThrow("broken");
  expect(arena.scope(() => arena.alloc(64))).toBe(free);
  expect(() => arena.alloc(64)).toThrow("inside `scope`");
  const notes: string[] = [];
  void takeTurns(noted("a", notes), () => Promise.resolve());
  expect(notes).toEqual(["a 0"]);
});

test("scopes of others open and end above an interrupted one, which goes on above what they keep", async () => {
  const arena = newArena();
  const bytes = (pointer: number) => arena.u8(pointer, 64);
  const work = (): Steps<boolean> =>
    arena.scopeOf(function* () {
      const first = arena.alloc(64);
      bytes(first).fill(1);
      yield;
      const second = arena.alloc(64);
      bytes(second).fill(2);
      yield;
      return [first, second].every((pointer, index) =>
        bytes(pointer).every((byte) => byte === index + 1),
      );
    });
  const kept: number[] = [];
  const others = async (): Promise<void> => {
    arena.scope(() => bytes(arena.alloc(64)).fill(9));
    const region = arena.own(64);
    bytes(region.pointer).fill(7);
    kept.push(region.pointer);
    await Promise.resolve();
  };
  expect(await takeTurns(work(), others)).toBe(true);
  for (const pointer of kept)
    expect(bytes(pointer).every((byte) => byte === 7)).toBe(true);
});

test("a scope that yields is told apart from one that does not", () => {
  const arena = newArena();
  expect(() => arena.scope(() => noted("a", []))).toThrow(
    "Expected a synchronous scope, got one that yields",
  );
});

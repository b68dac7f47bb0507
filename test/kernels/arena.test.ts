import { describe, expect, it } from "vitest";
import { Arena } from "../../src/kernels/arena.ts";
import { DryArena } from "../../src/kernels/dry-arena.ts";

const newArena = (): Arena =>
  new Arena(new WebAssembly.Memory({ initial: 1 }), 100);

describe("regions", () => {
  it("outlive the scope they were made in, and scopes step over them", () => {
    const arena = newArena();
    const region = arena.scope(() => {
      arena.alloc(64);
      return arena.own(128);
    });
    arena.u8(region.pointer, 128).fill(7);
    arena.scope(() => {
      // The first 64 bytes fit below the region, the next do not.
      expect(arena.alloc(64)).toBeLessThan(region.pointer);
      expect(arena.alloc(128)).toBeGreaterThanOrEqual(region.pointer + 128);
      expect(arena.alloc(0)).toBeGreaterThanOrEqual(region.pointer + 128);
    });
    expect(arena.u8(region.pointer, 128).every((byte) => byte === 7)).toBe(
      true,
    );
    expect(arena.ownedBytes).toBe(128);
  });

  it("never overlap, and are taken again once freed", () => {
    const arena = newArena();
    const [first, second, third] = [100, 64, 300].map((bytes) =>
      arena.own(bytes),
    );
    expect(second!.pointer).toBe(first!.pointer + 128);
    second!.free();
    second!.free();
    expect(arena.own(65).pointer).toBeGreaterThan(third!.pointer);
    expect(arena.own(64).pointer).toBe(second!.pointer);
    expect(arena.ownedBytes).toBe(128 + 320 + 128 + 64);
  });

  it("within a scope lie above all that the scope has", () => {
    const arena = newArena();
    arena.own(64).free();
    arena.scope(() => {
      const low = arena.alloc(1000);
      expect(arena.own(64).pointer).toBeGreaterThanOrEqual(low + 1000);
    });
  });

  it("keep their bytes when memory grows; views have to be asked for again", () => {
    const arena = newArena();
    const region = arena.own(64);
    const view = arena.u8(region.pointer, 64);
    view.fill(9);
    arena.scope(() => arena.alloc(10 * 65536));
    expect(view.length).toBe(0);
    expect(arena.u8(region.pointer, 64)).toEqual(new Uint8Array(64).fill(9));
  });
});

describe("measure", () => {
  it("is the most that was taken at one time, of memory or without any", () => {
    for (const arena of [newArena(), new DryArena()]) {
      const taken = arena.measure(() => {
        arena.scope(() => arena.alloc(1000));
        arena.scope(() => {
          arena.alloc(100);
          arena.scope(() => arena.alloc(500));
          arena.alloc(64);
        });
      });
      expect(taken).toBe(1024);
      expect(arena.measure(() => arena.alloc(65))).toBe(128);
    }
  });

  it("needs no memory in a dry arena", () => {
    const arena = new DryArena();
    expect(arena.measure(() => arena.alloc(2 ** 40))).toBe(2 ** 40);
    expect(arena.memory.buffer.byteLength).toBe(0);
  });
});

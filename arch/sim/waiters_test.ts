import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type ParkedList, type ParkingPlace, Waiters } from "./waiters.ts";

const CPUS = 12;
const PLACES = 3;

function ends(list: ParkedList | null): number[] {
  return list === null ? [-1, -1, 0] : [list.first, list.last, list.count];
}

Deno.test("Waiters keep the order of parking, as arrays would, whoever leaves", () => {
  fc.assert(fc.property(
    fc.array(
      fc.tuple(fc.nat({ max: CPUS - 1 }), fc.nat({ max: PLACES - 1 })),
      { maxLength: 200 },
    ),
    (moves) => {
      const waiters = new Waiters(CPUS);
      const places: ParkingPlace[] = Array.from(
        { length: PLACES },
        () => ({ waiters: null }),
      );
      const model: number[][] = places.map(() => []);
      for (const [id, n] of moves) {
        const at = model.findIndex((ids) => ids.includes(id));
        if (at < 0) {
          waiters.add(places[n], id);
          model[n].push(id);
        } else {
          waiters.remove(id);
          model[at] = model[at].filter((other) => other !== id);
        }
        assertEquals(
          places.map(({ waiters }) => ends(waiters)),
          model.map((ids) => [ids[0] ?? -1, ids.at(-1) ?? -1, ids.length]),
        );
      }
      for (const [i, { waiters: list }] of places.entries()) {
        const left: number[] = [];
        for (; list !== null && list.first >= 0; waiters.remove(list.first)) {
          left.push(list.first);
        }
        assertEquals(left, model[i]);
      }
    },
  ));
});

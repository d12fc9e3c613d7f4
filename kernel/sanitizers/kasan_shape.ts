/**
 * Slab objects that ask before they are touched: for each use of a slot one
 * JavaScript object, with accessors in the place of its fields, and the values
 * in an array that goes from one use to the next as memory does. A stale
 * reference leads to an object of an earlier use, whose track says so.
 *
 * Links that are part of an object (ListHead, RbNode and the like) have
 * accessors too; RcuHead, which is RCU's while it waits, has none. What the
 * cache's `make()` puts into a field is a part if a field of it leads back.
 *
 * Two ways to make one. Objects of a class without private (`#`) fields are
 * built by hand, `bare`, which costs little; they begin with fields unset whose
 * value `make()` gives as a plain value, or as a link to itself: to read one
 * before it has been written is reported. Others are made by `make()`, take over
 * what the last use left, and then have their fields taken away, which costs
 * more; what `make()` leaves undefined, for the first user of an address to set,
 * is undefined again.
 */
import { RcuHead } from "../rcu_state.ts";
import { SlabObject } from "../mm/slab_object.ts";
import type { Track } from "./kasan_track.ts";

/** Anything, by the names of its fields. */
interface Fields {
  [key: string]: unknown;
}

/** An object with accessors, or a link of one. */
interface Guarded extends Fields {
  _track: Track;
  /** Values of the fields. */
  _v: unknown[];
}

/** Fields that stay fields: the slab allocator's, and kasan's. */
const KEPT: readonly string[] = ["_slab", "_index", "_live", "_track", "_v"];
/** Fields of every slab object that are right from the start. */
const PLACE: readonly string[] = ["line", "paddr"];

/** What stands in a field that has not been written. */
const UNSET: unique symbol = Symbol("unset");

/** Values that are still to come. */
const NONE: unknown[] = [];

/** An object without its links, or one of its links. */
interface Part {
  /** Number of the field that holds it; -1 = the object itself. */
  readonly at: number;
  readonly keys: readonly string[];
  /** Has the accessors. */
  readonly proto: object;
  /** Makes what inherits from `proto`. */
  readonly make: new (track: Track) => Guarded;
  /** Numbers of the fields that lead to the object. */
  readonly back: readonly number[];
  /** Numbers of the fields that hold nothing at first. */
  readonly unset: readonly number[];
}

/**
 * What objects of a class are made of. Holds nothing of any kernel: the host
 * knows the objects of all kernels by one set of hidden classes.
 */
export class Shape {
  readonly #self: Part;
  readonly #links: readonly Part[];
  /** Numbers of the fields that hold an RcuHead. */
  readonly #heads: readonly number[];

  constructor(
    made: SlabObject,
    /** See the file's head. */
    readonly bare: boolean,
  ) {
    const sample = made as unknown as Fields;
    this.#self = this.#part(sample, sample, -1, "");
    const links: Part[] = [];
    const heads: number[] = [];
    this.#self.keys.forEach((key, i) => {
      const value = sample[key];
      if (value instanceof RcuHead) heads.push(i);
      else if (isPartOf(value, sample)) {
        links.push(this.#part(value, sample, i, `${key}.`));
      }
    });
    this.#links = links;
    this.#heads = heads;
  }

  /**
   * Checks that `made`, of another cache or kernel, has the same fields, links
   * among them, and begins with the same ones unset.
   *
   * @throws {TypeError} If not.
   */
  checkAlike(made: SlabObject): void {
    const other = new Shape(made, this.bare);
    if (this.#layout() === other.#layout()) return;
    throw new TypeError(
      `Cannot watch a ${made.constructor.name} as it is made of other fields than the first one: ${other.#layout()} rather than ${this.#layout()}`,
    );
  }

  /** All that objects are built by, in words. */
  #layout(): string {
    const parts = [this.#self, ...this.#links].map(
      ({ at, keys, back, unset }) => ({ at, keys, back, unset }),
    );
    return JSON.stringify([parts, this.#heads]);
  }

  /** The object of the next use of the slot that `old` stands for. */
  next(old: SlabObject, track: Track): SlabObject {
    return this.bare ? this.#build(old, track) : this.#remake(old, track);
  }

  #build(old: SlabObject, track: Track): SlabObject {
    const self = this.#self;
    const obj = new self.make(track);
    const values = valuesOf(old, self);
    obj._v = values;
    for (let i = 0; i < this.#links.length; i++) {
      const part = this.#links[i];
      const link = new part.make(track);
      link._v = valuesOf(values[part.at], part);
      begin(link._v, part, obj);
      values[part.at] = link;
    }
    for (let i = 0; i < this.#heads.length; i++) {
      values[this.#heads[i]] = new RcuHead(obj);
    }
    begin(values, self, obj);
    return obj as unknown as SlabObject;
  }

  #remake(old: SlabObject, track: Track): SlabObject {
    const self = this.#self;
    const obj = old._slab!.cache.make() as Guarded;
    const values = valuesOf(old, self);
    for (let i = 0; i < this.#links.length; i++) {
      const part = this.#links[i];
      const oldLink = values[part.at];
      const link = obj[self.keys[part.at]] as Guarded;
      inherit(link, part, valuesOf(oldLink, part), old, obj, oldLink);
      values[part.at] = link;
      seize(link, part, track);
    }
    for (let i = 0; i < this.#heads.length; i++) {
      values[this.#heads[i]] = obj[self.keys[this.#heads[i]]];
    }
    obj.line = values[self.keys.indexOf("line")];
    inherit(obj, self, values, old, obj, old);
    seize(obj, self, track);
    return obj as unknown as SlabObject;
  }

  /** `sample` is `of`, or a link of it; `prefix` goes before names of fields in reports. */
  #part(sample: Fields, of: Fields, at: number, prefix: string): Part {
    const keys = Object.keys(sample).filter((key) => !KEPT.includes(key));
    const accessors: PropertyDescriptorMap = {};
    const back: number[] = [];
    const unset: number[] = [];
    keys.forEach((key, i) => {
      accessors[key] = accessor(i, prefix + key);
      const value = sample[key];
      if (value === of) back.push(i);
      else if (PLACE.includes(key)) return;
      else if (typeof value !== "object" || value === null) unset.push(i);
      else if (value === sample) unset.push(i);
    });
    const make = at < 0 ? bareObject() : bareLink();
    const proto = make.prototype;
    Object.setPrototypeOf(proto, Object.getPrototypeOf(sample));
    Object.defineProperties(proto, accessors);
    Object.defineProperty(proto, "constructor", { value: sample.constructor });
    return { at, keys, proto, make, back, unset };
  }
}

/** A class for the objects of one cache: one that the host knows the fields of, which Object.create() would not tell it. */
function bareObject(): new (track: Track) => Guarded {
  return class {
    [field: string]: unknown;
    _slab = null;
    _index = 0;
    _live = false;
    _v: unknown[] = NONE;
    constructor(public _track: Track) {}
  };
}

/** As {@linkcode bareObject}, for one link of them. */
function bareLink(): new (track: Track) => Guarded {
  return class {
    [field: string]: unknown;
    _v: unknown[] = NONE;
    constructor(public _track: Track) {}
  };
}

/** Whether `value` is a part of `obj`, and no object of its own. */
function isPartOf(value: unknown, obj: Fields): value is Fields {
  return typeof value === "object" && value !== null &&
    !(value instanceof SlabObject) && Object.values(value).includes(obj);
}

/** The fields of `of`, which may be as it was made: the array itself, or a new one. */
function valuesOf(of: unknown, { keys }: Part): unknown[] {
  const fields = of as Guarded;
  if (Array.isArray(fields._v)) return fields._v;
  const values = new Array<unknown>(keys.length);
  for (let i = 0; i < keys.length; i++) values[i] = fields[keys[i]];
  return values;
}

/** Makes `values` those of a part of the new `obj`. */
function begin(values: unknown[], { back, unset }: Part, obj: unknown): void {
  for (let i = 0; i < back.length; i++) values[back[i]] = obj;
  for (let i = 0; i < unset.length; i++) values[unset[i]] = UNSET;
}

/** Gives a part of the new `obj` what the same part of `old`, `oldPart`, held. */
function inherit(
  part: Guarded,
  { keys }: Part,
  values: unknown[],
  old: unknown,
  obj: Guarded,
  oldPart: unknown,
): void {
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (part[key] === undefined) continue;
    const value = values[i];
    part[key] = value === oldPart ? part : value === old ? obj : value;
  }
}

/** Puts accessors in the place of the fields of `part`. */
function seize(part: Guarded, { keys, proto }: Part, track: Track): void {
  const values = new Array<unknown>(keys.length);
  for (let i = 0; i < keys.length; i++) values[i] = part[keys[i]];
  for (let i = 0; i < keys.length; i++) delete part[keys[i]];
  Object.setPrototypeOf(part, proto);
  part._track = track;
  part._v = values;
}

/** Stands for field number `i`, called `name` in reports. */
function accessor(i: number, name: string): PropertyDescriptor {
  return {
    get(this: Guarded): unknown {
      const track = this._track;
      if (track.state !== 0) track.guard.touched(track, name);
      const value = this._v[i];
      if (value === UNSET) track.guard.unset(track, name);
      return value;
    },
    set(this: Guarded, value: unknown) {
      const track = this._track;
      if (track.state !== 0) track.guard.touched(track, name);
      this._v[i] = value;
    },
    configurable: true,
  };
}

/**
 * Error numbers, with Linux's names and values (generic and x86 agree on all
 * of them).
 *
 * As in Linux the constants are positive and functions return them negated;
 * unlike Linux the negative value has its own type, made by {@linkcode err},
 * so that an address and a failure cannot be mixed up unseen.
 */

/** A negated error number, as kernel functions return it. */
export type Errno = number & { readonly __brand: "Errno" };

/** Operation not permitted. */
export const EPERM = 1;
/** No such file, directory or entry. */
export const ENOENT = 2;
/** Interrupted call. */
export const EINTR = 4;
/** Input or output failed. */
export const EIO = 5;
/** No such device or address. */
export const ENXIO = 6;
/** Argument list too long. */
export const E2BIG = 7;
/** Not an executable this kernel can load. */
export const ENOEXEC = 8;
/** Bad file descriptor. */
export const EBADF = 9;
/** Try again. */
export const EAGAIN = 11;
/** Out of memory. */
export const ENOMEM = 12;
/** Permission denied. */
export const EACCES = 13;
/** Bad address. */
export const EFAULT = 14;
/** Device or resource busy. */
export const EBUSY = 16;
/** Already exists. */
export const EEXIST = 17;
/** No such device. */
export const ENODEV = 19;
/** Not a directory. */
export const ENOTDIR = 20;
/** Is a directory. */
export const EISDIR = 21;
/** Invalid argument. */
export const EINVAL = 22;
/** File too large. */
export const EFBIG = 27;
/** No space left. */
export const ENOSPC = 28;
/** Read-only file system. */
export const EROFS = 30;
/** Result out of range. */
export const ERANGE = 34;
/** Taking the lock would deadlock. */
export const EDEADLK = 35;
/** Name too long. */
export const ENAMETOOLONG = 36;
/** Function not implemented. */
export const ENOSYS = 38;
/** Directory not empty. */
export const ENOTEMPTY = 39;
/** Too many symbolic links. */
export const ELOOP = 40;
/** Protocol error. */
export const EPROTO = 71;
/** Not a message: a checksum is wrong (XFS calls it EFSBADCRC). */
export const EBADMSG = 74;
/** Value too large for its type. */
export const EOVERFLOW = 75;
/** Operation not supported. */
export const EOPNOTSUPP = 95;
/** Timed out. */
export const ETIMEDOUT = 110;
/** Structure needs cleaning: a file system is damaged (XFS calls it EFSCORRUPTED). */
export const EUCLEAN = 117;
/** Largest number that an error return can have. */
export const MAX_ERRNO = 4095;

/**
 * Negates an error number: `return err(ENOMEM)`.
 *
 * @param n One of the constants above.
 * @returns `-n`, typed.
 *
 * @example
 * ```ts
 * import { ENOMEM, err, IS_ERR_VALUE } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const result = err(ENOMEM);
 * assertEquals(result, -12);
 * assert(IS_ERR_VALUE(result));
 * ```
 */
export function err(n: number): Errno {
  return -n as Errno;
}

/**
 * Tells a failure from a value that is never negative.
 *
 * Linux: include/linux/err.h.
 *
 * @param x What a function returned.
 * @returns Whether it is a negated error number.
 *
 * @example
 * ```ts
 * import { EBUSY, IS_ERR_VALUE } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(IS_ERR_VALUE(-EBUSY));
 * assertFalse(IS_ERR_VALUE(0xc20000000000)); // an address
 * ```
 */
export function IS_ERR_VALUE(x: number): x is Errno {
  return x < 0 && x >= -MAX_ERRNO;
}

/**
 * Names an error number.
 *
 * @param n The number, negated or not.
 * @returns Such as `"ENOMEM"`; `"errno 999"` when it is not one of ours; `"0"` for success.
 *
 * @example
 * ```ts
 * import { EINVAL, err, errname } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(errname(err(EINVAL)), "EINVAL");
 * ```
 */
export function errname(n: number): string {
  switch (Math.abs(n)) {
    case 0:
      return "0";
    case EPERM:
      return "EPERM";
    case ENOENT:
      return "ENOENT";
    case EINTR:
      return "EINTR";
    case EIO:
      return "EIO";
    case ENXIO:
      return "ENXIO";
    case E2BIG:
      return "E2BIG";
    case ENOEXEC:
      return "ENOEXEC";
    case EBADF:
      return "EBADF";
    case EAGAIN:
      return "EAGAIN";
    case ENOMEM:
      return "ENOMEM";
    case EACCES:
      return "EACCES";
    case EFAULT:
      return "EFAULT";
    case EBUSY:
      return "EBUSY";
    case EEXIST:
      return "EEXIST";
    case ENODEV:
      return "ENODEV";
    case ENOTDIR:
      return "ENOTDIR";
    case EISDIR:
      return "EISDIR";
    case EINVAL:
      return "EINVAL";
    case EFBIG:
      return "EFBIG";
    case ENOSPC:
      return "ENOSPC";
    case EROFS:
      return "EROFS";
    case ERANGE:
      return "ERANGE";
    case EDEADLK:
      return "EDEADLK";
    case ENAMETOOLONG:
      return "ENAMETOOLONG";
    case ENOSYS:
      return "ENOSYS";
    case ENOTEMPTY:
      return "ENOTEMPTY";
    case ELOOP:
      return "ELOOP";
    case EPROTO:
      return "EPROTO";
    case EBADMSG:
      return "EBADMSG";
    case EOVERFLOW:
      return "EOVERFLOW";
    case EOPNOTSUPP:
      return "EOPNOTSUPP";
    case ETIMEDOUT:
      return "ETIMEDOUT";
    case EUCLEAN:
      return "EUCLEAN";
    default:
      return `errno ${Math.abs(n)}`;
  }
}

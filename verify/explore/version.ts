/** Version of schedules, for the strings that replay them. */

/**
 * Goes up with whatever makes an old schedule mean another run: an operation
 * more or less in the kernel, another order of boot, another text form. The test
 * beside this file compares a few schedules with what they were.
 */
export const SCHEDULE_VERSION = 2;

/** The word of a ticket lock: the next ticket in its high half, the owner's in its low one. */

/** How far up the next ticket stands. */
export const TICKET_SHIFT = 16;
/** The owner's half. */
export const TICKET_MASK = 0xffff;

/** Which CPU each thread of a workload is to run on. */
import type { Thread } from "../../kernel/thread.ts";

/**
 * Online CPUs in the order in which the scheduler would give them to new
 * threads that stay busy: node after node in turn, the caller's node and CPU
 * last. (A workload's threads sleep at the line, so that by itself it would
 * give a large machine's first CPUs out twice.)
 */
export function spread(t: Thread): number[] {
  const { cpus } = t.machine.engine;
  const own = t.cpu;
  const nodes: number[][] = [];
  for (const id of t.k.cpu_online.list) {
    if (id !== own.id) (nodes[cpus[id].node] ??= []).push(id);
  }
  const turns = [...nodes.slice(own.node + 1), ...nodes.slice(0, own.node + 1)];
  const order: number[] = [];
  for (let i = 0; turns.some((node) => i < (node?.length ?? 0)); i++) {
    for (const node of turns) {
      if (node !== undefined && i < node.length) order.push(node[i]);
    }
  }
  order.push(own.id);
  return order;
}

/* Memory of one call. What is taken during a call, by the bindings for its arguments or by us for its result, is given back
 * at once when the host has read the result; what `configure` took stays. This is all the allocator an operator needs that
 * keeps nothing, and it costs an addition a block. */
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 65536u
#define ALIGNMENT_BYTES 16u

extern unsigned char __heap_base;

static uintptr_t floor_, top, limit;

static uintptr_t aligned(uintptr_t n) { return (n + ALIGNMENT_BYTES - 1) & ~(uintptr_t)(ALIGNMENT_BYTES - 1); }

void *malloc(size_t size) {
  if (!top) {
    floor_ = top = aligned((uintptr_t)&__heap_base);
    limit = __builtin_wasm_memory_size(0) * PAGE_BYTES;
  }
  if (size > UINT32_MAX - PAGE_BYTES) __builtin_trap();
  size = aligned(size);
  if (size > limit - top) {
    /* One page more than needed, in case somebody else has grown the memory and ours starts after theirs. */
    size_t pages = (size + PAGE_BYTES - 1) / PAGE_BYTES + 1;
    size_t before = __builtin_wasm_memory_grow(0, pages);
    if (before == (size_t)-1) __builtin_trap();
    if (before * PAGE_BYTES != limit) top = before * PAGE_BYTES;
    limit = (before + pages) * PAGE_BYTES;
  }
  uintptr_t block = top;
  top += size;
  return (void *)block;
}

void free(void *block) { (void)block; }

/* The old block's size is not known; what lies between it and the top is at least that much. */
void *realloc(void *block, size_t size) {
  size_t readable = block ? top - (uintptr_t)block : 0;
  void *moved = malloc(size);
  if (readable) __builtin_memcpy(moved, block, size < readable ? size : readable);
  return moved;
}

/* The bindings' own functions of these names free block by block. They are weak, ours replace them. */
#define AFTER(interface, name, function, action)                                                 \
  __attribute__((export_name("cabi_post_wasmill:operator/" name)))                              \
  void __wasm_export_exports_wasmill_operator_##interface##_##function##_post_return(uint8_t *result) { \
    (void)result;                                                                                \
    action;                                                                                      \
  }

AFTER(transform, "transform@0.1.0#describe", describe, top = floor_)
AFTER(transform, "transform@0.1.0#configure", configure, floor_ = top)
AFTER(transform, "transform@0.1.0#process", process, top = floor_)
AFTER(aggregate, "aggregate@0.1.0#describe", describe, top = floor_)
AFTER(aggregate, "aggregate@0.1.0#configure", configure, floor_ = top)
AFTER(aggregate, "aggregate@0.1.0#accumulate", accumulate, top = floor_)
AFTER(aggregate, "aggregate@0.1.0#merge", merge, top = floor_)
AFTER(aggregate, "aggregate@0.1.0#results", results, top = floor_)

/* Passes lines through, or does what no operator should: its configuration is {"do": "..."} with one of the names below. With
 * wasi-libc, so that the closed adapter has work. The results that break the contract need a batch of two rows or more with
 * some text in them. */
#include "misbehaving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAK_BYTES (1u << 20)
#define NAME_MAX_BYTES 64
/* Together far more than the memory there is. */
#define SHARED_BYTES (1u << 20)
#define SHARES 4096u

typedef wasmill_operator_types_batch_t batch_t;
typedef wasmill_operator_types_column_t column_t;
typedef wasmill_operator_types_emission_t emission_t;
typedef wasmill_operator_types_fault_t fault_t;

static char action[NAME_MAX_BYTES] = "pass";
/* What is written here the compiler must not leave out. */
static unsigned char *volatile kept;
static uint32_t (*volatile deeper)(uint32_t);

static bool doing(const char *name) { return strcmp(action, name) == 0; }

static wasmill_operator_types_list_field_t lines(void) {
  wasmill_operator_types_field_t *field = malloc(sizeof *field);
  *field = (wasmill_operator_types_field_t){.kind = WASMILL_OPERATOR_TYPES_KIND_UTF8};
  misbehaving_string_dup(&field->name, "line");
  return (wasmill_operator_types_list_field_t){field, 1};
}

void exports_wasmill_operator_transform_describe(wasmill_operator_types_description_t *description) {
  wasmill_operator_types_list_field_t *input = malloc(sizeof *input);
  *input = lines();
  *description = (wasmill_operator_types_description_t){
      .inputs = {input, 1},
      .output = {.tag = WASMILL_OPERATOR_TYPES_SHAPE_COLUMNS, .val = {.columns = lines()}},
  };
  misbehaving_string_dup(&description->name, "misbehaving");
  misbehaving_string_dup(&description->version, "0.1.0");
  misbehaving_string_dup(&description->configuration,
                         "{\"type\":\"object\",\"properties\":{\"do\":{\"type\":\"string\"}},\"additionalProperties\":false}");
}

bool exports_wasmill_operator_transform_configure(misbehaving_string_t *configuration,
                                                  wasmill_operator_types_placement_t *placement,
                                                  misbehaving_string_t *error) {
  wasmill_operator_types_placement_free(placement);
  char *text = strndup((char *)configuration->ptr, configuration->len);
  misbehaving_string_free(configuration);
  /* Enough of JSON for one key with a plain string. */
  char *value = strstr(text, "\"do\"");
  if (value) sscanf(value + sizeof "\"do\"" - 1, " : \"%63[^\"]", action);
  free(text);
  if (!doing("configure-fails")) return true;
  misbehaving_string_dup(error, "told to fail");
  return false;
}

static uint32_t deep(uint32_t n) { return deeper(n + 1) ^ n; }

/* What ends in a trap, or not at all. */
static void break_down(void) {
  if (doing("loop"))
    for (volatile int forever = 1; forever;) {}
  if (doing("trap")) __builtin_trap();
  if (doing("stack")) {
    deeper = deep;
    deep(0);
  }
  while (doing("memory")) {
    kept = malloc(LEAK_BYTES);
    if (!kept) abort();
    memset(kept, 1, LEAK_BYTES);
  }
}

/* What breaks the contract. */
static void spoil(uint32_t rows, column_t *column, uint32_t *origins) {
  wasmill_operator_types_variable_t *text = &column->values.val.utf8;
  if (doing("offsets-decrease") && rows > 1) text->offsets.ptr[1] = text->offsets.ptr[2] + 1;
  if (doing("offsets-too-long")) text->offsets.ptr[rows]++;
  if (doing("wrong-count") && rows > 0) {
    text->offsets.len--;
    text->data.len = text->offsets.ptr[rows - 1];
  }
  if (doing("bad-utf8") && text->data.len > 0) text->data.ptr[0] = 0xff;
  if (doing("unknown-origin") && rows > 0) origins[0] = rows;
  if (doing("null-where-not-nullable") && rows > 0) {
    size_t bytes = (rows + 7) / 8;
    column->validity.is_some = true;
    column->validity.val = (misbehaving_list_u8_t){calloc(bytes, 1), bytes};
  }
  if (doing("wrong-kind")) {
    wasmill_operator_types_values_free(&column->values);
    column->values.tag = WASMILL_OPERATOR_TYPES_VALUES_INT64;
    column->values.val.int64 = (misbehaving_list_s64_t){rows ? calloc(rows, sizeof(int64_t)) : NULL, rows};
  }
}

static bool fail(fault_t *fault, uint8_t tag, const char *reason) {
  fault->tag = tag;
  misbehaving_string_dup(tag == WASMILL_OPERATOR_TYPES_FAULT_RETRY ? &fault->val.retry : &fault->val.fail, reason);
  return false;
}

static void reject(emission_t *emission, uint32_t rows) {
  wasmill_operator_types_rejection_t *rejections = rows ? malloc(rows * sizeof *rejections) : NULL;
  for (uint32_t row = 0; row < rows; row++) {
    rejections[row].row = row;
    misbehaving_string_dup(&rejections[row].reason, "told to reject");
  }
  emission->rejections = (wasmill_operator_types_list_rejection_t){rejections, rows};
}

/* Rejections whose reasons all lie in the same place. */
static void share(emission_t *emission) {
  uint8_t *reason = malloc(SHARED_BYTES);
  wasmill_operator_types_rejection_t *rejections = malloc(SHARES * sizeof *rejections);
  if (!reason || !rejections) abort();
  memset(reason, 'x', SHARED_BYTES);
  for (uint32_t row = 0; row < SHARES; row++)
    rejections[row] = (wasmill_operator_types_rejection_t){.row = row, .reason = {reason, SHARED_BYTES}};
  emission->rejections = (wasmill_operator_types_list_rejection_t){rejections, SHARES};
}

bool exports_wasmill_operator_transform_process(wasmill_operator_types_moment_t *moment, batch_t *batch,
                                                emission_t *emission, fault_t *fault) {
  (void)moment;
  uint32_t rows = batch->rows;
  memset(emission, 0, sizeof *emission);
  break_down();
  if (doing("fault") || doing("retry")) {
    wasmill_operator_types_batch_free(batch);
    bool is_retry = doing("retry");
    return fail(fault, is_retry ? WASMILL_OPERATOR_TYPES_FAULT_RETRY : WASMILL_OPERATOR_TYPES_FAULT_FAIL,
                is_retry ? "told to ask again" : "told to fail");
  }
  if (doing("print")) {
    printf("%u rows\n", (unsigned)rows);
    fprintf(stderr, "%u rows, ", (unsigned)rows);
    fprintf(stderr, "said in two pieces\n");
  }
  if (doing("leak")) {
    kept = malloc(LEAK_BYTES);
    if (!kept) abort();
    memset(kept, 1, LEAK_BYTES);
  }
  misbehaving_list_s64_free(&batch->timestamps);
  if (doing("reject") || doing("reject-twice")) {
    wasmill_operator_types_list_column_free(&batch->columns);
    reject(emission, rows);
    if (doing("reject-twice") && rows > 0) emission->rejections.ptr[rows - 1].row = 0;
    rows = 0;
    column_t *column = calloc(1, sizeof *column);
    uint32_t *offsets = calloc(1, sizeof *offsets);
    column->values = (wasmill_operator_types_values_t){.tag = WASMILL_OPERATOR_TYPES_VALUES_UTF8,
                                                       .val = {.utf8 = {.offsets = {offsets, 1}}}};
    emission->main.columns = (wasmill_operator_types_list_column_t){column, 1};
    return true;
  }
  if (doing("share-reasons")) share(emission);
  uint32_t *origins = rows ? malloc(rows * sizeof *origins) : NULL;
  for (uint32_t row = 0; row < rows; row++) origins[row] = row;
  emission->main.origins = (misbehaving_list_u32_t){origins, rows};
  emission->main.columns = batch->columns;
  if (doing("too-few-columns")) {
    wasmill_operator_types_list_column_free(&emission->main.columns);
    emission->main.columns = (wasmill_operator_types_list_column_t){NULL, 0};
  } else {
    spoil(rows, emission->main.columns.ptr, origins);
  }
  return true;
}

/* Word count: a transform that splits lines into words, and an aggregate that counts rows. Written against the contract's
 * bindings alone. Words are separated by ASCII white space and their ASCII letters become lower case; other letters stay as
 * they are. */
#include "word_count.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(literal) {(uint8_t *)(literal), sizeof(literal) - 1}
#define LIST(array) {(array), sizeof(array) / sizeof((array)[0])}

/* The arena gives nothing back block by block, so a description may lie in static memory. */
static wasmill_operator_types_field_t line[] = {{TEXT("line"), WASMILL_OPERATOR_TYPES_KIND_UTF8, false}};
static wasmill_operator_types_field_t word[] = {{TEXT("word"), WASMILL_OPERATOR_TYPES_KIND_UTF8, false}};
static wasmill_operator_types_field_t count[] = {{TEXT("count"), WASMILL_OPERATOR_TYPES_KIND_INT64, false}};
static wasmill_operator_types_list_field_t split_inputs[] = {LIST(line)};
static wasmill_operator_types_list_field_t count_inputs[] = {{NULL, 0}};
static wasmill_operator_types_state_t states[] = {{
    .name = TEXT("count"),
    .kind = WASMILL_OPERATOR_TYPES_STATE_KIND_AGGREGATING,
    .schema_version = 1,
    .value_kind = WASMILL_OPERATOR_TYPES_KIND_INT64,
}};

void exports_wasmill_operator_transform_describe(wasmill_operator_types_description_t *description) {
  *description = (wasmill_operator_types_description_t){
      .name = TEXT("split-words"),
      .version = TEXT("0.1.0"),
      .inputs = LIST(split_inputs),
      .output = {.tag = WASMILL_OPERATOR_TYPES_SHAPE_COLUMNS, .val = {.columns = LIST(word)}},
  };
}

void exports_wasmill_operator_aggregate_describe(wasmill_operator_types_description_t *description) {
  *description = (wasmill_operator_types_description_t){
      .name = TEXT("count"),
      .version = TEXT("0.1.0"),
      .inputs = LIST(count_inputs),
      .output = {.tag = WASMILL_OPERATOR_TYPES_SHAPE_COLUMNS, .val = {.columns = LIST(count)}},
      .states = LIST(states),
  };
}

bool exports_wasmill_operator_transform_configure(word_count_string_t *configuration,
                                                  wasmill_operator_types_placement_t *placement,
                                                  word_count_string_t *error) {
  (void)configuration, (void)placement, (void)error;
  return true;
}

bool exports_wasmill_operator_aggregate_configure(word_count_string_t *configuration,
                                                  wasmill_operator_types_placement_t *placement,
                                                  word_count_string_t *error) {
  (void)configuration, (void)placement, (void)error;
  return true;
}

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

bool exports_wasmill_operator_transform_process(wasmill_operator_types_moment_t *moment,
                                                wasmill_operator_types_batch_t *batch,
                                                wasmill_operator_types_emission_t *emission,
                                                wasmill_operator_types_fault_t *fault) {
  (void)moment, (void)fault;
  wasmill_operator_types_variable_t *lines = &batch->columns.ptr[0].values.val.utf8;
  /* Words are apart, so a line of n bytes has at most (n + 1) / 2. */
  size_t words_max = (lines->data.len + batch->rows) / 2 + 1;
  uint32_t *origins = malloc(words_max * sizeof *origins);
  uint32_t *offsets = malloc((words_max + 1) * sizeof *offsets);
  uint8_t *data = malloc(lines->data.len);
  size_t words = 0, length = 0;
  offsets[0] = 0;
  for (uint32_t row = 0; row < batch->rows; row++) {
    size_t at = lines->offsets.ptr[row], end = lines->offsets.ptr[row + 1];
    while (at < end) {
      size_t start = length;
      for (; at < end && !is_space(lines->data.ptr[at]); at++) {
        uint8_t byte = lines->data.ptr[at];
        data[length++] = byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
      }
      if (length > start) {
        origins[words++] = row;
        offsets[words] = length;
      }
      at++;
    }
  }
  wasmill_operator_types_column_t *column = malloc(sizeof *column);
  *column = (wasmill_operator_types_column_t){
      .values = {.tag = WASMILL_OPERATOR_TYPES_VALUES_UTF8,
                 .val = {.utf8 = {.offsets = {offsets, words + 1}, .data = {data, length}}}},
  };
  *emission = (wasmill_operator_types_emission_t){.main = {.origins = {origins, words}, .columns = {column, 1}}};
  return true;
}

static bool is_null(const wasmill_operator_types_column_t *column, size_t row) {
  return column->validity.is_some && !(column->validity.val.ptr[row / 8] >> row % 8 & 1);
}

/* Makes nulls zero, in place: arguments are ours, and a result may consist of them. */
static int64_t *counts(exports_wasmill_operator_aggregate_accumulators_t *accumulators) {
  wasmill_operator_types_column_t *column = &accumulators->values;
  word_count_list_s64_t *values = &column->values.val.int64;
  for (size_t i = 0; i < values->len; i++)
    if (is_null(column, i)) values->ptr[i] = 0;
  column->validity.is_some = false;
  return values->ptr;
}

bool exports_wasmill_operator_aggregate_accumulate(wasmill_operator_types_moment_t *moment,
                                                   wasmill_operator_types_batch_t *batch,
                                                   word_count_list_u32_t *groups,
                                                   exports_wasmill_operator_aggregate_accumulators_t *accumulators,
                                                   exports_wasmill_operator_aggregate_accumulated_t *result,
                                                   wasmill_operator_types_fault_t *fault) {
  (void)moment, (void)batch, (void)fault;
  int64_t *totals = counts(accumulators);
  for (size_t row = 0; row < groups->len; row++) totals[groups->ptr[row]]++;
  *result = (exports_wasmill_operator_aggregate_accumulated_t){.accumulators = accumulators->values};
  return true;
}

bool exports_wasmill_operator_aggregate_merge(exports_wasmill_operator_aggregate_accumulators_t *accumulators,
                                              exports_wasmill_operator_aggregate_accumulators_t *others,
                                              word_count_list_u32_t *groups,
                                              wasmill_operator_types_column_t *result,
                                              wasmill_operator_types_fault_t *fault) {
  (void)fault;
  int64_t *totals = counts(accumulators), *added = counts(others);
  for (size_t i = 0; i < groups->len; i++) totals[groups->ptr[i]] += added[i];
  *result = accumulators->values;
  return true;
}

bool exports_wasmill_operator_aggregate_results(exports_wasmill_operator_aggregate_accumulators_t *accumulators,
                                                exports_wasmill_operator_aggregate_list_column_t *columns,
                                                wasmill_operator_types_fault_t *fault) {
  (void)fault;
  (void)counts(accumulators);
  *columns = (exports_wasmill_operator_aggregate_list_column_t){&accumulators->values, 1};
  return true;
}

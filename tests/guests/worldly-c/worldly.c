/* Answers each line with what WASI has to say to it: a line is one of the words below. Of what nobody has, it asks in vain. */
#include "worldly.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX_BYTES 256
/* More than may be written, or asked for, at once. */
#define MUCH_BYTES (4u << 20)

typedef wasmill_operator_types_batch_t batch_t;
typedef wasmill_operator_types_column_t column_t;
typedef wasmill_operator_types_emission_t emission_t;
typedef wasmill_operator_types_fault_t fault_t;

static char at_start[ANSWER_MAX_BYTES];

static wasmill_operator_types_list_field_t lines(void) {
  wasmill_operator_types_field_t *field = malloc(sizeof *field);
  *field = (wasmill_operator_types_field_t){.kind = WASMILL_OPERATOR_TYPES_KIND_UTF8};
  worldly_string_dup(&field->name, "line");
  return (wasmill_operator_types_list_field_t){field, 1};
}

void exports_wasmill_operator_transform_describe(wasmill_operator_types_description_t *description) {
  wasmill_operator_types_list_field_t *input = malloc(sizeof *input);
  *input = lines();
  *description = (wasmill_operator_types_description_t){
      .inputs = {input, 1},
      .output = {.tag = WASMILL_OPERATOR_TYPES_SHAPE_COLUMNS, .val = {.columns = lines()}},
  };
  worldly_string_dup(&description->name, "worldly");
  worldly_string_dup(&description->version, "0.1.0");
}

static void clocks(char *answer) {
  wasi_clocks_wall_clock_datetime_t now, tick;
  wasi_clocks_wall_clock_now(&now);
  wasi_clocks_wall_clock_resolution(&tick);
  snprintf(answer, ANSWER_MAX_BYTES, "%" PRIu64 ".%09" PRIu32 " %" PRIu64 ", by %" PRIu64 ".%09" PRIu32 " %" PRIu64,
           now.seconds, now.nanoseconds, wasi_clocks_monotonic_clock_now(), tick.seconds, tick.nanoseconds,
           wasi_clocks_monotonic_clock_resolution());
}

static void numbers(char *answer) {
  worldly_tuple2_u64_u64_t seed;
  worldly_list_u8_t bytes;
  uint64_t number = wasi_random_random_get_random_u64();
  wasi_random_random_get_random_bytes(3, &bytes);
  wasi_random_insecure_seed_insecure_seed(&seed);
  snprintf(answer, ANSWER_MAX_BYTES, "%" PRIx64 " %02x%02x%02x %" PRIx64 " %" PRIx64, number, bytes.ptr[0],
           bytes.ptr[1], bytes.ptr[2], seed.f0, seed.f1);
  worldly_list_u8_free(&bytes);
}

static void surroundings(char *answer) {
  worldly_list_tuple2_string_string_t variables;
  worldly_list_string_t arguments;
  worldly_string_t directory;
  wasi_filesystem_preopens_list_tuple2_own_descriptor_string_t directories;
  wasi_cli_terminal_stdout_own_terminal_output_t terminal;
  wasi_cli_environment_get_environment(&variables);
  wasi_cli_environment_get_arguments(&arguments);
  wasi_filesystem_preopens_get_directories(&directories);
  snprintf(answer, ANSWER_MAX_BYTES, "%zu %zu %d %zu %d", variables.len, arguments.len,
           wasi_cli_environment_initial_cwd(&directory), directories.len,
           wasi_cli_terminal_stdout_get_terminal_stdout(&terminal));
}

static bool write_text(wasi_io_streams_own_output_stream_t to, const char *text, size_t length) {
  wasi_io_streams_borrow_output_stream_t stream = wasi_io_streams_borrow_output_stream(to);
  wasi_io_streams_stream_error_t error;
  worldly_list_u8_t bytes = {(uint8_t *)text, length};
  uint64_t room;
  return wasi_io_streams_method_output_stream_check_write(stream, &room, &error) &&
         wasi_io_streams_method_output_stream_write(stream, &bytes, &error) &&
         wasi_io_streams_method_output_stream_blocking_flush(stream, &error);
}

static void print(char *answer) {
  wasi_io_streams_own_output_stream_t out = wasi_cli_stdout_get_stdout(), err = wasi_cli_stderr_get_stderr();
  bool written = write_text(out, "half a ", 7) && write_text(err, "a warning\n", 10) && write_text(out, "line\nand", 8);
  wasi_io_streams_output_stream_drop_own(out);
  wasi_io_streams_output_stream_drop_own(err);
  snprintf(answer, ANSWER_MAX_BYTES, "%d", written);
}

static void wait_for_input(char *answer) {
  wasi_io_streams_own_input_stream_t input = wasi_cli_stdin_get_stdin();
  wasi_io_streams_borrow_input_stream_t stream = wasi_io_streams_borrow_input_stream(input);
  wasi_io_poll_own_pollable_t pollable = wasi_io_streams_method_input_stream_subscribe(stream);
  wasi_io_poll_borrow_pollable_t borrowed = wasi_io_poll_borrow_pollable(pollable);
  wasi_io_poll_list_borrow_pollable_t pollables = {&borrowed, 1};
  worldly_list_u32_t ready;
  wasi_io_poll_method_pollable_block(borrowed);
  wasi_io_poll_poll(&pollables, &ready);
  worldly_list_u8_t bytes;
  wasi_io_streams_stream_error_t error;
  bool read = wasi_io_streams_method_input_stream_read(stream, 1, &bytes, &error);
  snprintf(answer, ANSWER_MAX_BYTES, "%zu %d %d", ready.len, wasi_io_poll_method_pollable_ready(borrowed),
           !read && error.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED);
  worldly_list_u32_free(&ready);
  wasi_io_poll_pollable_drop_own(pollable);
  wasi_io_streams_input_stream_drop_own(input);
}

static void start(char *answer) { strcpy(answer, at_start); }

static void open_and_close(char *answer) {
  uint32_t count = 0;
  for (; count < 100000; count++) wasi_io_streams_output_stream_drop_own(wasi_cli_stdout_get_stdout());
  snprintf(answer, ANSWER_MAX_BYTES, "%" PRIu32, count);
}

static void open_only(char *answer) {
  (void)answer;
  for (;;) wasi_cli_stdout_get_stdout();
}

static void write_much(char *answer) {
  char *text = calloc(MUCH_BYTES, 1);
  snprintf(answer, ANSWER_MAX_BYTES, "%d", write_text(wasi_cli_stdout_get_stdout(), text, MUCH_BYTES));
}

static void random_much(char *answer) {
  worldly_list_u8_t bytes;
  wasi_random_random_get_random_bytes(MUCH_BYTES, &bytes);
  snprintf(answer, ANSWER_MAX_BYTES, "%zu", bytes.len);
}

static void sleep_a_while(char *answer) {
  (void)answer;
  wasi_clocks_monotonic_clock_subscribe_duration(1);
}

static void leave(char *answer) {
  (void)answer;
  wasi_cli_exit_result_void_void_t status = {.is_err = false};
  wasi_cli_exit_exit(&status);
}

static void network(char *answer) {
  (void)answer;
  wasi_sockets_instance_network_instance_network();
}

static void http(char *answer) {
  (void)answer;
  wasi_http_outgoing_handler_handle(wasi_http_types_constructor_fields());
}

/* Nobody gave it this one. */
static void file(char *answer) {
  wasi_filesystem_types_borrow_descriptor_t descriptor = {7};
  wasi_filesystem_types_error_code_t error;
  snprintf(answer, ANSWER_MAX_BYTES, "%d", wasi_filesystem_types_method_descriptor_sync(descriptor, &error));
}

static const struct {
  const char *word;
  void (*answer)(char *);
} ANSWERS[] = {
    {"clocks", clocks},         {"numbers", numbers},       {"surroundings", surroundings}, {"print", print},
    {"input", wait_for_input},  {"start", start},           {"open and close", open_and_close},
    {"open only", open_only},   {"write much", write_much}, {"random much", random_much},   {"sleep", sleep_a_while},
    {"exit", leave},            {"network", network},       {"http", http},                 {"file", file},
};

static void answer_to(const uint8_t *word, size_t length, char *answer) {
  for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++)
    if (strlen(ANSWERS[i].word) == length && memcmp(ANSWERS[i].word, word, length) == 0) {
      ANSWERS[i].answer(answer);
      return;
    }
  abort();
}

bool exports_wasmill_operator_transform_configure(worldly_string_t *configuration,
                                                  wasmill_operator_types_placement_t *placement,
                                                  worldly_string_t *error) {
  (void)error;
  worldly_string_free(configuration);
  wasmill_operator_types_placement_free(placement);
  char numbers_at_start[ANSWER_MAX_BYTES];
  clocks(at_start);
  numbers(numbers_at_start);
  size_t length = strlen(at_start);
  snprintf(at_start + length, sizeof at_start - length, ", %s", numbers_at_start);
  return true;
}

bool exports_wasmill_operator_transform_process(wasmill_operator_types_moment_t *moment, batch_t *batch,
                                                emission_t *emission, fault_t *fault) {
  (void)moment;
  (void)fault;
  uint32_t rows = batch->rows;
  wasmill_operator_types_variable_t *words = &batch->columns.ptr[0].values.val.utf8;
  uint32_t *origins = malloc((rows + 1) * sizeof *origins), *offsets = calloc(rows + 1, sizeof *offsets);
  char *text = malloc((rows + 1) * ANSWER_MAX_BYTES);
  if (!origins || !offsets || !text) abort();
  for (uint32_t row = 0; row < rows; row++) {
    char *answer = text + offsets[row];
    uint32_t from = words->offsets.ptr[row];
    *answer = 0;
    answer_to(words->data.ptr + from, words->offsets.ptr[row + 1] - from, answer);
    origins[row] = row;
    offsets[row + 1] = offsets[row] + strlen(answer);
  }
  wasmill_operator_types_batch_free(batch);
  memset(emission, 0, sizeof *emission);
  column_t *column = calloc(1, sizeof *column);
  column->values = (wasmill_operator_types_values_t){
      .tag = WASMILL_OPERATOR_TYPES_VALUES_UTF8,
      .val = {.utf8 = {.offsets = {offsets, rows + 1}, .data = {(uint8_t *)text, offsets[rows]}}}};
  emission->main.origins = (worldly_list_u32_t){origins, rows};
  emission->main.columns = (wasmill_operator_types_list_column_t){column, 1};
  return true;
}

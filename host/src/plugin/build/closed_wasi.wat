;; wasi_snapshot_preview1 with nothing behind it, for guests whose language insists on it. There are no files, no network,
;; no arguments and no environment; the clock counts calls and random numbers repeat, so that a replay is the same run again.
;; What is written to descriptors 1 and 2 becomes lines of the operator's log, at `info` and `warn`.
;;
;; The line in hand is kept in globals: an adapter may have no memory of its own, and taking some of the guest's would
;; confuse allocators that think they alone let it grow. For the moment of the call to `log` the line changes places with the
;; start of the guest's memory. The declarations of the globals `$w0`, `$w1`... and the arms of the two dispatching functions
;; are written in by `closed_wasi.rs`.
(module
  (import "wasmill:operator/logging@0.1.0" "log" (func $log (param $level i32) (param $text i32) (param $length i32)))
  (import "env" "memory" (memory 0))
  ;; @globals
  (global $clock (mut i64) (i64.const 1000000000))
  (global $random (mut i64) (i64.const 0x2545F4914F6CDD1D))
  ;; The line in hand: its level, its bytes, and where its last character starts.
  (global $level (mut i32) (i32.const 2))
  (global $fill (mut i32) (i32.const 0))
  (global $start (mut i32) (i32.const 0))
  ;; How many bytes of that character are still to come, and between which values the next of them must lie.
  (global $need (mut i32) (i32.const 0))
  (global $low (mut i32) (i32.const 0))
  (global $high (mut i32) (i32.const 0))

  (func $word (param $i i32) (result i64)
    ;; @load
    unreachable)
  (func $set_word (param $i i32) (param $value i64)
    ;; @store
    unreachable)

  (func $append (param $byte i32)
    (local $word i32) (local $shift i64)
    (local.set $word (i32.shr_u (global.get $fill) (i32.const 3)))
    (local.set $shift (i64.extend_i32_u (i32.shl (i32.and (global.get $fill) (i32.const 7)) (i32.const 3))))
    (call $set_word (local.get $word)
      (i64.or
        (i64.and (call $word (local.get $word)) (i64.xor (i64.shl (i64.const 0xff) (local.get $shift)) (i64.const -1)))
        (i64.shl (i64.extend_i32_u (local.get $byte)) (local.get $shift))))
    (global.set $fill (i32.add (global.get $fill) (i32.const 1))))

  ;; A character that does not become one is a question mark.
  (func $give_up_character
    (global.set $fill (global.get $start))
    (global.set $need (i32.const 0))
    (call $append (i32.const 63)))

  (func $exchange
    (local $address i32) (local $kept i64)
    (loop $next
      (local.set $kept (i64.load (local.get $address)))
      (i64.store (local.get $address) (call $word (i32.shr_u (local.get $address) (i32.const 3))))
      (call $set_word (i32.shr_u (local.get $address) (i32.const 3)) (local.get $kept))
      (local.set $address (i32.add (local.get $address) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $address) (global.get $fill)))))

  (func $end_line
    (if (global.get $need) (then (call $give_up_character)))
    (if (i32.eqz (global.get $fill)) (then (return)))
    (call $exchange)
    (call $log (global.get $level) (i32.const 0) (global.get $fill))
    (call $exchange)
    (global.set $fill (i32.const 0)))

  (func $expect (param $need i32) (param $low i32) (param $high i32)
    (global.set $need (local.get $need)) (global.set $low (local.get $low)) (global.set $high (local.get $high)))

  ;; The contract's strings are UTF-8 and a call with anything else traps, so bytes are let through as whole characters.
  (func $put (param $byte i32)
    (if (global.get $need) (then
      (if (i32.and (i32.ge_u (local.get $byte) (global.get $low)) (i32.le_u (local.get $byte) (global.get $high))) (then
        (call $append (local.get $byte))
        (call $expect (i32.sub (global.get $need) (i32.const 1)) (i32.const 0x80) (i32.const 0xbf))
        (return)))
      (call $give_up_character)))
    (if (i32.eq (local.get $byte) (i32.const 10)) (then (call $end_line) (return)))
    ;; Room for the longest character.
    (if (i32.gt_u (global.get $fill) (i32.const @last)) (then (call $end_line)))
    (global.set $start (global.get $fill))
    (if (i32.lt_u (local.get $byte) (i32.const 0x80)) (then (call $append (local.get $byte)) (return)))
    (if (i32.or (i32.lt_u (local.get $byte) (i32.const 0xc2)) (i32.gt_u (local.get $byte) (i32.const 0xf4)))
      (then (call $append (i32.const 63)) (return)))
    (call $expect
      (i32.add (i32.const 1)
        (i32.add (i32.ge_u (local.get $byte) (i32.const 0xe0)) (i32.ge_u (local.get $byte) (i32.const 0xf0))))
      (i32.const 0x80) (i32.const 0xbf))
    ;; Longer forms than needed, surrogates, and what lies beyond Unicode.
    (if (i32.eq (local.get $byte) (i32.const 0xe0)) (then (global.set $low (i32.const 0xa0))))
    (if (i32.eq (local.get $byte) (i32.const 0xed)) (then (global.set $high (i32.const 0x9f))))
    (if (i32.eq (local.get $byte) (i32.const 0xf0)) (then (global.set $low (i32.const 0x90))))
    (if (i32.eq (local.get $byte) (i32.const 0xf4)) (then (global.set $high (i32.const 0x8f))))
    (call $append (local.get $byte)))

  (func (export "fd_write") (param $descriptor i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $at i32) (local $end i32) (local $sum i32)
    ;; Only 1 and 2; 8 is "bad descriptor".
    (if (i32.gt_u (i32.sub (local.get $descriptor) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    ;; Standard output is `info` (2), standard error `warn` (3).
    (local.set $descriptor (i32.add (local.get $descriptor) (i32.const 1)))
    (if (i32.ne (local.get $descriptor) (global.get $level)) (then
      (call $end_line)
      (global.set $level (local.get $descriptor))))
    (block $done (loop $piece
      (br_if $done (i32.eqz (local.get $count)))
      (local.set $at (i32.load (local.get $pieces)))
      (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $pieces))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $pieces))))
      (block $read (loop $byte
        (br_if $read (i32.eq (local.get $at) (local.get $end)))
        (call $put (i32.load8_u (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $byte)))
      (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $piece)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Standard streams look like terminals, which makes languages write whole lines at once instead of filling a buffer.
  (func (export "fd_fdstat_get") (param $descriptor i32) (param $status i32) (result i32)
    (if (i32.gt_u (local.get $descriptor) (i32.const 2)) (then (return (i32.const 8))))
    (i64.store (local.get $status) (i64.const 2))
    (i64.store offset=8 (local.get $status) (i64.const 64))
    (i64.store offset=16 (local.get $status) (i64.const 0))
    (i32.const 0))

  (func (export "proc_exit") (param i32) (call $end_line) unreachable)
  (func (export "proc_raise") (param i32) (result i32) (call $end_line) unreachable)
  (func (export "sched_yield") (result i32) (i32.const 0))

  (func $none (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0)) (i32.store (local.get 1) (i32.const 0)) (i32.const 0))
  (export "args_sizes_get" (func $none)) (export "environ_sizes_get" (func $none))
  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $nothing)) (export "environ_get" (func $nothing))

  (func (export "clock_res_get") (param i32) (param $out i32) (result i32)
    (i64.store (local.get $out) (i64.const 1000)) (i32.const 0))
  (func (export "clock_time_get") (param i32) (param i64) (param $out i32) (result i32)
    (global.set $clock (i64.add (global.get $clock) (i64.const 1000)))
    (i64.store (local.get $out) (global.get $clock)) (i32.const 0))

  ;; Xorshift, a byte a step.
  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $x i64)
    (local.set $x (global.get $random))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $length)))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (i64.store8 (local.get $at) (local.get $x))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br $next)))
    (global.set $random (local.get $x))
    (i32.const 0))

  ;; Every subscription is ready at once; for one to the clock, the time it waits for has come.
  (func (export "poll_oneoff") (param $subscription i32) (param $event i32) (param $count i32) (param $ready i32) (result i32)
    (local $time i64)
    (i32.store (local.get $ready) (local.get $count))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (if (i32.eqz (i32.load8_u offset=8 (local.get $subscription))) (then
        (local.set $time (i64.load offset=24 (local.get $subscription)))
        (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $subscription)) (i32.const 1)))
          (then (local.set $time (i64.add (local.get $time) (global.get $clock)))))
        (if (i64.gt_u (local.get $time) (global.get $clock)) (then (global.set $clock (local.get $time))))))
      (i64.store (local.get $event) (i64.load (local.get $subscription)))
      (i64.store offset=8 (local.get $event) (i64.const 0))
      (i64.store offset=16 (local.get $event) (i64.const 0))
      (i64.store offset=24 (local.get $event) (i64.const 0))
      (i32.store8 offset=10 (local.get $event) (i32.load8_u offset=8 (local.get $subscription)))
      (local.set $subscription (i32.add (local.get $subscription) (i32.const 48)))
      (local.set $event (i32.add (local.get $event) (i32.const 32)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next)))
    (i32.const 0))

  ;; All that needs a file or a socket: there is none. Named by the letters of the parameters, `i` of 32 and `l` of 64 bits.
  (func $i (param i32) (result i32) (i32.const 8))
  (export "fd_close" (func $i)) (export "fd_datasync" (func $i)) (export "fd_sync" (func $i))
  (func $ii (param i32 i32) (result i32) (i32.const 8))
  (export "fd_fdstat_set_flags" (func $ii)) (export "fd_prestat_get" (func $ii)) (export "fd_filestat_get" (func $ii))
  (export "fd_renumber" (func $ii)) (export "fd_tell" (func $ii)) (export "sock_shutdown" (func $ii))
  (func $iii (param i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_prestat_dir_name" (func $iii)) (export "path_create_directory" (func $iii)) (export "sock_accept" (func $iii))
  (export "path_remove_directory" (func $iii)) (export "path_unlink_file" (func $iii))
  (func $iiii (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_read" (func $iiii))
  (func $iiiii (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_filestat_get" (func $iiiii)) (export "path_symlink" (func $iiiii)) (export "sock_send" (func $iiiii))
  (func $iiiiii (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_readlink" (func $iiiiii)) (export "path_rename" (func $iiiiii)) (export "sock_recv" (func $iiiiii))
  (func $iiiiiii (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_link" (func $iiiiiii))
  (func $il (param i32 i64) (result i32) (i32.const 8))
  (export "fd_filestat_set_size" (func $il))
  (func $ill (param i32 i64 i64) (result i32) (i32.const 8))
  (export "fd_allocate" (func $ill)) (export "fd_fdstat_set_rights" (func $ill))
  (func $ilii (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (export "fd_seek" (func $ilii))
  (func $illi (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (export "fd_advise" (func $illi)) (export "fd_filestat_set_times" (func $illi))
  (func $iiili (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (export "fd_readdir" (func $iiili)) (export "fd_pread" (func $iiili)) (export "fd_pwrite" (func $iiili))
  (func $iiiiillii (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (export "path_open" (func $iiiiillii))
  (func $iiiilli (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (export "path_filestat_set_times" (func $iiiilli))
)

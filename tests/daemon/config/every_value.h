// A configuration file that sets every setting there is. That none is forgotten is tested in
// reload_test.cc.
#pragma once

namespace nodecomm {

// No value is the default.
inline constexpr char kEveryValueChanged[] = R"(
    runtime_dir: "/tmp/n"
    runtime_dir_mode: "0750"
    admin_dir_mode: "0711"
    log_level: "warning"
    log_format: "json"
    pool {
      plane_bytes: 4194304 planes_ready: 1 bytes_per_gpu_max: 8388608
      bytes_per_gpu_per_uid_max: 6291456
    }
    group {
      rendezvous_timeout_ms: 1500 allow_gpu_sharing: true allow_pci: true disable_fast_path: true
      drain_timeout_ms: 77
    }
    limits {
      sessions_max: 5 sessions_per_uid_max: 4 control_connections_per_uid_max: 3 groups_max: 2
      groups_per_uid_max: 1 connections_per_uid_per_second: 6 calls_per_uid_per_second: 7
    }
    peer_access {
      trust_driver: true allow_unproven: true proof_bytes: 134217728 proof_timeout_ms: 2500
    }
    metrics { port: 9464 textfile: "/x/n.prom" textfile_interval_ms: 2000 }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000a" uid: [ 1000, 1001 ] }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000b" })";

}  // namespace nodecomm

# Which tests run how in the sanitizer build; read by ./check.
# Open MPI, HDF5 on damaged files, and Criterion in threads leave blocks behind that would drown ours: leaks are not
# reported there.
foreign_leaks='^datasets/fuzz_(shard|hdf5)|^checkpoint/(fuzz_checkpoint|test_ranks)|^train/test_(audit|augment|bad_runs|best|deadline|ema|groups|guard|loss_scale|profile|samples|saving|sft_golden|signals|table|use)|^train/tasks/test_(classify|dpo|grpo|lora|lud|policy_networks|ppo|reward)|^launch/test_(ckpt|from|generate|launch_mpirun|lockstep|rejection|report|status|train)|^dist/test_(reduce_ranks|rows|rows_ranks|toy|world)|^launch/ckpt/test_|^launch/doctor/test_doctor'
# Minutes each, and made of the same code as the others; or they put their own malloc in place of the sanitizer's.
left_out='^dist/test_(reduce_heap|simulation)|^train/tasks/test_rollout_heap|^train/test_resume|^launch/prove/test_prove|^launch/slurm/test_slurm|^launch/network/test_network|^checkpoint/test_commit|^launch/test_faults'

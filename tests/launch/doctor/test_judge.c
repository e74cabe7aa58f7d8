/* What the doctor makes of numbers that no machine at hand has. */
#include "launch/doctor/doctor.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* A rank on `node` of `cores` cores, bound to [from, from + mine). */
static ls_doctor_place place(int node, int cores, int from, int mine, int threads)
{
    ls_doctor_place p = {.node = node, .threads = threads};
    snprintf(p.host, sizeof p.host, "n%d", node);
    for (int core = 0; core < cores; core++)
        CPU_SET((size_t)core, &p.all);
    for (int core = from; core < from + mine; core++)
        CPU_SET((size_t)core, &p.bound);
    return p;
}

static ls_finding judge(const ls_doctor_place *places, int ranks)
{
    ls_finding finding = {0};
    ls_doctor_judge_places(places, ranks, &finding);
    return finding;
}

Test(judge, ranks_with_cores_of_their_own_are_well)
{
    const ls_doctor_place bound[] = {place(0, 8, 0, 4, 4), place(0, 8, 4, 4, 4), place(1, 8, 0, 4, 4), place(1, 8, 4, 4, 4)};
    ls_finding f = judge(bound, 4);
    cr_assert(f.level == LS_DOCTOR_OK && strstr(f.text, "4 rank(s) x 4 thread(s) on 2 node(s) of 8 cores, bound"), "%s", f.text);
    const ls_doctor_place open[] = {place(0, 8, 0, 8, 4), place(0, 8, 0, 8, 4)};
    f = judge(open, 2);
    cr_assert(f.level == LS_DOCTOR_OK && strstr(f.text, "not bound"), "%s", f.text);
}

Test(judge, two_ranks_on_the_same_core_fail_wherever_they_are)
{
    ls_doctor_place places[] = {place(0, 8, 0, 1, 1), place(0, 8, 1, 1, 1), place(1, 8, 3, 1, 1), place(1, 8, 3, 1, 1)};
    ls_finding f = judge(places, 4);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "ranks 2 and 3 on n1 share 1 core (core 3) of 8"), "%s", f.text);
    places[3].node = 2; /* core 3 of another node is another core */
    snprintf(places[3].host, sizeof places[3].host, "n2");
    f = judge(places, 4);
    cr_assert_eq(f.level, LS_DOCTOR_OK, "%s", f.text);
}

Test(judge, more_threads_than_cores_are_worth_a_look)
{
    const ls_doctor_place narrow[] = {place(0, 8, 0, 1, 4), place(0, 8, 1, 1, 4)};
    ls_finding f = judge(narrow, 2);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "rank 0 on n0 has 4 threads on 1 core;"), "%s", f.text);
    const ls_doctor_place many[] = {place(0, 2, 0, 2, 1), place(0, 2, 0, 2, 1), place(0, 2, 0, 2, 1)};
    f = judge(many, 3);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "3 ranks with 3 threads together share 2 cores of n0"), "%s", f.text);
}

Test(judge, a_rank_that_stands_still_is_told_from_a_slow_processor)
{
    ls_doctor_pace pace[] = {{"a", 1.0, 0.98}, {"b", 1.1, 0.99}, {"c", 4.0, 0.99}, {"d", 1.0, 0.98}};
    ls_finding f = {0};
    ls_doctor_judge_pace(pace, 4, &f);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "rank 2 on c needs 4.0 times") && strstr(f.text, "ran 25% of that time"), "%s", f.text);
    pace[2].cpu = 3.9;
    f = (ls_finding){0};
    ls_doctor_judge_pace(pace, 4, &f);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "all of them on its processor"), "%s", f.text);
    pace[2] = (ls_doctor_pace){"c", 1.8, 1.7};
    f = (ls_finding){0};
    ls_doctor_judge_pace(pace, 4, &f);
    cr_assert_eq(f.level, LS_DOCTOR_WARN, "%s", f.text);
    pace[2] = (ls_doctor_pace){"c", 1.2, 1.1};
    f = (ls_finding){0};
    ls_doctor_judge_pace(pace, 4, &f);
    cr_assert_eq(f.level, LS_DOCTOR_OK, "%s", f.text);
}

Test(judge, the_worst_finding_is_the_one_that_is_told)
{
    ls_finding f = {0};
    ls_doctor_find(&f, LS_DOCTOR_WARN, "first");
    ls_doctor_find(&f, LS_DOCTOR_WARN, "second");
    ls_doctor_find(&f, LS_DOCTOR_OK, "third");
    cr_assert_str_eq(f.text, "first");
    ls_doctor_find(&f, LS_DOCTOR_FAIL, "fourth");
    cr_assert_str_eq(f.text, "fourth");
}

/* Three nodes or four, all pairs at 10 GB/s but those that `slow` says. */
static ls_finding judge_network(int players, double link, double (*rate)(int, int))
{
    static const char name[][LS_DOCTOR_NAME] = {"n1", "n2", "n3", "n4"};
    double pair[16] = {0};
    for (int p = 0; p < players; p++)
        for (int q = 0; q < players; q++)
            pair[p * players + q] = p == q ? 0 : rate(p < q ? p : q, p < q ? q : p);
    ls_finding finding = {0};
    ls_doctor_judge_rates(&(ls_doctor_rates){.nodes = true, .players = players, .pair = pair, .name = name, .copy = 9, .reduce = 2, .link = link}, &finding);
    return finding;
}

static double even(int p, int q)
{
    return 10 + 0.1 * (p + q);
}

static double third_is_slow(int p, int q)
{
    return p == 2 || q == 2 ? 1 : 10;
}

static double one_pair_is_slow(int p, int q)
{
    return p == 1 && q == 3 ? 1 : 10;
}

Test(judge, a_slow_node_is_told_from_a_slow_pair)
{
    ls_finding f = judge_network(4, 12.5, even);
    cr_assert(f.level == LS_DOCTOR_OK && strstr(f.text, "nodes exchange in pairs at 10.1 to 10.5 each way (the link says 12.5)"), "%s", f.text);
    f = judge_network(3, 12.5, third_is_slow);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "n3 exchanges at 1 GB/s at most, with whomever; others at 10"), "%s", f.text);
    f = judge_network(4, 12.5, one_pair_is_slow);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "n2 and n4 exchange at 1 GB/s, each of them faster with others (up to 10)"), "%s", f.text);
    f = judge_network(2, 125, even);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "nodes exchange at 10.1 GB/s at most where the fastest link says 125"), "%s", f.text);
}

Test(judge, each_meets_each_once)
{
    for (int players = 2; players < 12; players++) {
        int met[12][12] = {0};
        for (int round = 0; round < players + players % 2 - 1; round++)
            for (int p = 0; p < players; p++) {
                const int other = ls_doctor_opponent(players, round, p);
                cr_assert(other >= 0 && other < players);
                cr_assert_eq(ls_doctor_opponent(players, round, other), p, "%d of %d in round %d", p, players, round);
                met[p][other]++;
            }
        for (int p = 0; p < players; p++)
            for (int q = 0; q < players; q++)
                cr_assert_eq(met[p][q], p != q || players % 2, "%d and %d of %d", p, q, players);
    }
}

static ls_doctor_gpu gpu(int node, int device)
{
    ls_doctor_gpu g = {.node = node, .nccl = 22809, .probe = {.devices = 2, .number = device, .name = "H100", .driver = 13000, .runtime = 13000}};
    snprintf(g.host, sizeof g.host, "n%d", node);
    snprintf(g.probe.place, sizeof g.probe.place, "0000:0%d:00.0", device + 1);
    return g;
}

static ls_finding judge_gpus(const ls_doctor_gpu *gpus, int ranks, bool through_host)
{
    ls_finding finding = {0};
    ls_doctor_judge_gpus(gpus, ranks, through_host, &finding);
    return finding;
}

Test(judge, a_device_for_each_rank_is_well_and_one_for_two_is_not)
{
    ls_doctor_gpu gpus[] = {gpu(0, 0), gpu(0, 1), gpu(1, 0), gpu(1, 1)};
    ls_finding f = judge_gpus(gpus, 4, false);
    cr_assert(f.level == LS_DOCTOR_OK && strstr(f.text, "H100 for each rank; driver up to CUDA 13.0, built with 13.0, NCCL 2.28.9"), "%s", f.text);
    gpus[3] = gpu(1, 0);
    f = judge_gpus(gpus, 4, false);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "ranks 2 and 3 on n1 both take the device at 0000:01:00.0: NCCL refuses that"), "%s", f.text);
    f = judge_gpus(gpus, 4, true);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "share its time"), "%s", f.text);
    gpus[2].probe.exclusive = true;
    f = judge_gpus(gpus, 4, true);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "Exclusive_Process"), "%s", f.text);
}

Test(judge, drivers_kinds_and_nccl_that_do_not_fit)
{
    ls_doctor_gpu gpus[] = {gpu(0, 0), gpu(0, 1)};
    gpus[1].probe.driver = 12080;
    ls_finding f = judge_gpus(gpus, 2, false);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "the driver of n0 knows CUDA up to 12.8, and this lockstep is built with 13.0"), "%s", f.text);
    gpus[0].probe.runtime = gpus[1].probe.runtime = 12090;
    f = judge_gpus(gpus, 2, false);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "cannot compile for newer ones"), "%s", f.text);
    gpus[1] = gpu(0, 1);
    gpus[1].nccl = 22602;
    f = judge_gpus(gpus, 2, false);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "rank 1 on n0 has NCCL 2.26.2, rank 0 on n0 2.28.9"), "%s", f.text);
    f = judge_gpus(gpus, 2, true);
    cr_assert_eq(f.level, LS_DOCTOR_OK, "%s", f.text);
    gpus[0].nccl = gpus[1].nccl = 0;
    f = judge_gpus(gpus, 2, false);
    cr_assert(f.level == LS_DOCTOR_WARN && strstr(f.text, "no rank has NCCL"), "%s", f.text);
    snprintf(gpus[1].probe.name, sizeof gpus[1].probe.name, "A100");
    f = judge_gpus(gpus, 2, false);
    cr_assert(f.level == LS_DOCTOR_FAIL && strstr(f.text, "rank 1 on n0 has A100, rank 0 on n0 has H100"), "%s", f.text);
}

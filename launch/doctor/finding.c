/* Lines of the doctor. See doctor.h. */
#include "launch/doctor/doctor.h"

#include <stdarg.h>
#include <stdio.h>

void ls_doctor_find(ls_finding *finding, ls_doctor_level level, const char *format, ...)
{
    if (finding->text[0] && level <= finding->level)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    finding->level = level;
}

void ls_doctor_say(ls_doctor *doctor, const char *part, const ls_finding *finding)
{
    static const char *const names[] = {"ok", "warn", "fail"};
    if (ls_world_rank(doctor->world) != 0)
        return;
    doctor->failures += finding->level == LS_DOCTOR_FAIL;
    doctor->warnings += finding->level == LS_DOCTOR_WARN;
    printf("%-5s %-9s %s\n", names[finding->level], part, finding->text);
    fflush(stdout);
}

/* Faults: one sentence each, to stderr and to cudahost_report(), and CUDA's error codes, sticky or not. */
#include "runtime.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cudahost.h>

static cudaError_t sticky = cudaSuccess, last = cudaSuccess;
static std::string &sentence = *new std::string; /* never destroyed, for the helper thread of stream.cpp */

const char *cudahost_report(void)
{
    return sentence.c_str();
}

void report_forget()
{
    sticky = last = cudaSuccess;
    sentence.clear();
}

void report_fault(cudaError_t error, const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    sentence = text;
    sticky = error;
    fprintf(stderr, "cudahost: %s\n", text);
    if (block_running())
        block_abandon();
}

cudaError_t report_refusal(cudaError_t error, const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_sentence(cudaGetErrorName(error), text);
    return report_error(error);
}

void report_sentence(const char *code, const char *text)
{
    sentence = text;
    fprintf(stderr, "cudahost: %s: %s\n", code, text);
}

cudaError_t report_sticky()
{
    return sticky;
}

cudaError_t report_error(cudaError_t error)
{
    if (sticky != cudaSuccess)
        error = sticky;
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last = error;
    return error;
}

extern "C" {
cudaError_t cudaPeekAtLastError(void)
{
    return sticky != cudaSuccess ? sticky : last;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = cudaPeekAtLastError();
    last = cudaSuccess;
    return error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define NAME(name, value, text)                                                                                        \
    case name: return #name;
        CUDAHOST_ERRORS(NAME)
#undef NAME
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
#define TEXT(name, value, text)                                                                                        \
    case name: return text;
        CUDAHOST_ERRORS(TEXT)
#undef TEXT
    }
    return "unrecognized error code";
}
}

/* The frames that addr2line prints for one address go from the inlined function outwards, as two lines each; the first
 * that is not one of the emulation's own headers is the kernel's line. */
static bool first_own_line(FILE *lines, std::string *place)
{
    char text[1024];
    while (fgets(text, sizeof text, lines) != nullptr) {
        text[strcspn(text, "\n")] = 0;
        char *note = strstr(text, " (discriminator");
        if (note != nullptr)
            *note = 0;
        if (text[0] == '?' || strstr(text, "cudahost/include/") != nullptr)
            continue;
        *place = text;
        return true;
    }
    return false;
}

std::string report_place(const void *pc)
{
    char text[64];
    Dl_info info;
    std::string place;
    snprintf(text, sizeof text, "%p", pc);
    if (dladdr(pc, &info) == 0 || info.dli_fname == nullptr)
        return text;
    /* A position-independent program's debug information counts from its start; a fixed one's from 0. */
    const unsigned char *elf = static_cast<const unsigned char *>(info.dli_fbase);
    bool fixed = elf[16] == 2; /* e_type is ET_EXEC */
    char program[512] = "", command[1200];
    if (info.dli_fname[0] != '/' && readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return text;
    snprintf(command, sizeof command, "addr2line -i -e '%s' %#lx 2>/dev/null", program[0] ? program : info.dli_fname,
             (unsigned long)((const char *)pc - (fixed ? nullptr : (const char *)info.dli_fbase) - 1));
    FILE *lines = popen(command, "r");
    bool found = lines != nullptr && first_own_line(lines, &place);
    if (lines != nullptr)
        pclose(lines);
    return found ? place : text;
}

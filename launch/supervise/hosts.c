/* A hostfile, and asking its hosts. See hosts.h. */
#include "launch/supervise/hosts.h"
#include "launch/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ls_status add(ls_hosts *hosts, const char *path, int line, const char *name, int slots)
{
    for (int i = 0; i < hosts->count; i++)
        if (!strcmp(hosts->host[i].name, name))
            return ls_fail(LS_EFORMAT, "%s:%d: host %s is named twice; give it one line with all its slots", path, line, name);
    ls_launch_host *more = realloc(hosts->host, (size_t)(hosts->count + 1) * sizeof *more);
    if (!more)
        return ls_fail(LS_EMEM, "%s: no memory to read it", path);
    hosts->host = more;
    ls_launch_host *host = &more[hosts->count++];
    *host = (ls_launch_host){.slots = slots, .answers = true};
    snprintf(host->name, sizeof host->name, "%s", name);
    return LS_OK;
}

static ls_status read_line(ls_hosts *hosts, const char *path, int number, char *line)
{
    char *rest, *name;
    line[strcspn(line, "#\n")] = '\0';
    name = strtok_r(line, " \t\r", &rest);
    if (!name)
        return LS_OK;
    if (strlen(name) >= LS_HOST_NAME)
        return ls_fail(LS_EFORMAT, "%s:%d: a host's name of %zu letters", path, number, strlen(name));
    long slots = 0;
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest));)
        if (!strncmp(word, "slots=", 6))
            slots = strtol(word + 6, NULL, 10);
    if (slots < 1 || slots > 4096)
        return ls_fail(LS_EFORMAT, "%s:%d: host %s has no slots=N; say how many ranks it takes", path, number, name);
    return add(hosts, path, number, name, (int)slots);
}

ls_status ls_hosts_read(ls_hosts *hosts, const char *path)
{
    *hosts = (ls_hosts){0};
    FILE *file = fopen(path, "r");
    if (!file)
        return ls_fail(LS_ENOTFOUND, "%s: cannot open the hostfile: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ls_status status = LS_OK;
    for (int number = 1; !status && getline(&line, &room, file) > 0; number++)
        status = read_line(hosts, path, number, line);
    free(line);
    fclose(file);
    if (!status && !hosts->count)
        status = ls_fail(LS_EFORMAT, "%s: names no host; write lines like `node01 slots=8`", path);
    if (status)
        ls_hosts_free(hosts);
    return status;
}

void ls_hosts_free(ls_hosts *hosts)
{
    free(hosts->host);
    *hosts = (ls_hosts){0};
}

static bool is_here(const char *name)
{
    char own[LS_HOST_NAME] = "";
    gethostname(own, sizeof own - 1);
    return !strcmp(name, own) || !strcmp(name, "localhost") || !strcmp(name, "127.0.0.1");
}

/* The agent's words, then the host, then what is asked of it. */
static ls_status start_asking(pid_t *process, const char *host)
{
    const char *agent = getenv("OMPI_MCA_plm_rsh_agent");
    char words[1024], *rest, *argv[32];
    int argc = 0;
    snprintf(words, sizeof words, "%s", agent && *agent ? agent : "ssh -o BatchMode=yes -o ConnectTimeout=10");
    for (char *word = strtok_r(words, " ", &rest); word && argc < 28; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    argv[argc++] = (char *)host;
    argv[argc++] = "true";
    argv[argc] = NULL;
    return ls_process_start(process, argv, "/dev/null");
}

ls_status ls_hosts_ask(ls_hosts *hosts, double seconds)
{
    pid_t *process = calloc((size_t)hosts->count, sizeof *process);
    if (!process)
        return ls_fail(LS_EMEM, "no memory to ask %d hosts", hosts->count);
    ls_status status = LS_OK;
    for (int i = 0; i < hosts->count && !status; i++)
        if (!is_here(hosts->host[i].name))
            status = start_asking(&process[i], hosts->host[i].name);
    const double deadline = ls_process_clock() + seconds;
    for (int i = 0; i < hosts->count; i++) {
        bool done = true;
        int exit_code = 0;
        const double left = deadline - ls_process_clock();
        if (process[i] > 0 && ls_process_wait(process[i], left > 0 ? left : 0, &done, &exit_code) == LS_OK && !done)
            ls_process_end(process[i]);
        hosts->host[i].answers = done && exit_code == 0;
    }
    free(process);
    return status;
}

int ls_hosts_slots(const ls_hosts *hosts)
{
    int slots = 0;
    for (int i = 0; i < hosts->count; i++)
        slots += hosts->host[i].answers ? hosts->host[i].slots : 0;
    return slots;
}

char *ls_hosts_text(const ls_hosts *hosts)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    for (int i = 0, told = 0; i < hosts->count; i++)
        if (hosts->host[i].answers)
            fprintf(out, "%s%s:%d", told++ ? "," : "", hosts->host[i].name, hosts->host[i].slots);
    fclose(out);
    return text;
}

void ls_hosts_missing(const ls_hosts *hosts, char *text, size_t bytes)
{
    size_t used = 0;
    *text = '\0';
    for (int i = 0; i < hosts->count && used < bytes; i++)
        if (!hosts->host[i].answers)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "", hosts->host[i].name);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "drivers/postgres/options.h"
#include "drivers/postgres/stop.h"

int main(int argc, char **argv)
{
    struct hg_postgres_options options;
    int exit_code;
    if (hg_postgres_options_parse(argc, argv, &options, &exit_code) != 0) {
        return exit_code;
    }
    /* libpq allocates each message: keep those of 128 KiB out of mmap, or every one costs its page faults. */
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    int rc = hg_stop_init();
    if (rc < 0) {
        fprintf(stderr, "helio-postgres: can't install signal handlers: %s\n", strerror(-rc));
        return HG_EXIT_FAILED;
    }
    return options.out ? hg_postgres_out(&options) : hg_postgres_in(&options);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * What housekeeping and its disk do with orphan files, for the tests of cutting: files in memory that outlive
 * the site.
 */
#ifndef HG_ORPHAN_DIRECTORY_H
#define HG_ORPHAN_DIRECTORY_H

#include "dataplane/stream/cut.h"
#include "peers_pair.h"

#define ORPHAN_DIRECTORY_FILES_MAX 64

struct orphan_directory {
    struct orphan_directory_file {
        char name[HG_ORPHAN_NAME_BYTES];
        uint8_t *data;
        uint64_t bytes;
        bool whole;
        bool recorded; /* the cut is */
    } files[ORPHAN_DIRECTORY_FILES_MAX];
    uint32_t count, pieces;
    uint32_t failures; /* left to fail */
    bool notes_fail;   /* that cuts are recorded */
};

/* Takes the piece that the site has to be written, if there is one. */
void orphan_directory_turn(struct orphan_directory *directory, struct site *site);
void orphan_directory_empty(struct orphan_directory *directory);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that was made or renamed is there for good once the directory that has its name is flushed, too.
 */
#ifndef HG_FILE_PLACE_H
#define HG_FILE_PLACE_H

/* Flushes the directory of the file at `path`. 0 or -errno. Blocks; any thread. */
int hg_file_place_sync(const char *path);

#endif

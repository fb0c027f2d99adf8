/* SPDX-License-Identifier: Apache-2.0
 *
 * What a test does less of where a sanitizer watches each step: the same paths, with fewer seeds.
 */
#ifndef HG_TEST_SANITIZED_H
#define HG_TEST_SANITIZED_H

/* Of so many seeds, those that are run here: all, or a quarter under a sanitizer. And the step through what
 * is enumerated: as it is, or four times as far. And whether what is only measured with other numbers, along
 * paths that the same program goes anyway, is left out. */
#ifdef __SANITIZE_ADDRESS__
#define HG_TEST_IS_SANITIZED true
#define HG_TEST_SEEDS(count) (((count) + 3) / 4)
#define HG_TEST_STEP(step)   (4 * (step))
#else
#define HG_TEST_IS_SANITIZED false
#define HG_TEST_SEEDS(count) (count)
#define HG_TEST_STEP(step)   (step)
#endif

#endif

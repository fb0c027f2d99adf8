/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of the grammar: one parser a kind, and how sizes and rates are written. Pure.
 */
#ifndef HG_CONTROLPLANE_GRAMMAR_VALUE_H
#define HG_CONTROLPLANE_GRAMMAR_VALUE_H

#include "controlplane/grammar.h"

/* False when `text` is no value of the argument's kind; *value has argument and column set before. */
bool hg_grammar_value_parse(const struct hg_grammar_argument *argument, const char *text,
                            struct hg_value *value);
/* What an error says is expected: "a MAC address (02:00:00:00:00:0a)". Static. */
const char *hg_grammar_kind_text(enum hg_value_kind kind);
/* The i-th of "a|b|c" into `choice`; false beyond the last. */
bool hg_grammar_choice(const char *choices, uint32_t i, char *choice, size_t bytes);
/* "400m", "1g", "1500": the shortest exact form with units of `base` (1000 or 1024). */
void hg_grammar_number_format(uint64_t number, uint64_t base, char *text, size_t bytes);

#endif

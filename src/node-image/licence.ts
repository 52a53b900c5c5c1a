/** Phrases by which the text of a licence is known, and its SPDX identifier; the first that fits wins. */
const knownTexts: readonly (readonly [identifier: string, ...phrases: RegExp[]])[] = [
  ['Apache-2.0', /apache license,? version 2\.0/],
  ['MPL-2.0', /mozilla public license,? version 2\.0/],
  [
    'ISC',
    /permission to use, copy, modify, and\/?(or)? ?distribute this software for any purpose with or without fee/,
  ],
  ['0BSD', /zero-clause bsd|bsd zero clause/],
  ['MIT', /permission is hereby granted, free of charge, to any person obtaining a copy/],
  [
    'BSD-3-Clause',
    /redistribution and use in source and binary forms/,
    /neither the name|may not be used to endorse/,
  ],
  ['BSD-2-Clause', /redistribution and use in source and binary forms/],
  ['LGPL-3.0', /gnu lesser general public license version 3|gnu lesser general public license\W+version 3/],
  ['CC0-1.0', /cc0 1\.0 universal/],
  ['Unlicense', /this is free and unencumbered software released into the public domain/],
]

/**
 * The SPDX identifiers of the licences in a text, such as a LICENSE file: more than one where it holds several.
 *
 * @see https://spdx.org/licenses/
 */
export function licencesOf(text: string): string[] {
  const plain = text
    .toLowerCase()
    .replaceAll(/^[\s#*/;>-]+/gm, '')
    .replaceAll(/["“”']/g, '')
    .replaceAll(/\s+/g, ' ')
  const found = knownTexts
    .filter(([, ...phrases]) => phrases.every((phrase) => phrase.test(plain)))
    .map(([identifier]) => identifier)
  return found.includes('BSD-3-Clause') ? found.filter((name) => name !== 'BSD-2-Clause') : found
}

/** Licences that Debian keeps one copy of, by what a copyright file calls them. */
const commonLicence = /\/usr\/share\/common-licenses\/([A-Za-z0-9.-]*[A-Za-z0-9])/g

/**
 * The licences that a Debian copyright file names, by Debian's own short names.
 *
 * @see https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
 */
export function debianLicences(copyright: string): string[] {
  const names = new Set<string>()
  if (/^Format: .*copyright-format/m.test(copyright)) {
    for (const [, expression = ''] of copyright.matchAll(/^License:[ \t]*(\S.*)$/gm)) {
      for (const name of expression.split(/\s*,?\s+(?:and|or)\s+/)) names.add(name.replace(/,$/, '').trim())
    }
  }
  if (names.size === 0) {
    for (const [, name = ''] of copyright.matchAll(commonLicence)) names.add(name)
    for (const name of licencesOf(copyright)) names.add(name)
  }
  if (names.size === 0 && /public domain/i.test(copyright)) names.add('public-domain')
  // Copyright files spell one licence in several ways: BSD-3-clause, BSD-3-Clause.
  const bySpelling = new Map([...names].sort().map((name) => [name.toLowerCase(), name]))
  return [...bySpelling.values()]
}

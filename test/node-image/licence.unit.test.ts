import { describe, expect, test } from 'vitest'
import { materialsTable } from '../../src/node-image/index.ts'
import { debianLicences, licencesOf } from '../../src/node-image/licence.ts'

const mit = `Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files (the "Software")`

const bsd = `Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:`

describe('the licence of a Go module', () => {
  test.each([
    ['                                 Apache License\n                           Version 2.0, January 2004', ['Apache-2.0']],
    [mit, ['MIT']],
    [`${bsd}\n * Neither the name of Google Inc.\nnor`, ['BSD-3-Clause']],
    [bsd, ['BSD-2-Clause']],
    ['Mozilla Public License Version 2.0', ['MPL-2.0']],
    ['Permission to use, copy, modify, and/or distribute this\nsoftware for any purpose with or without fee', ['ISC']],
    [`This project is covered by two different licenses: MIT and Apache.\n${mit}\nApache License, Version 2.0`, ['Apache-2.0', 'MIT']],
    ['All rights reserved, go away', []],
  ])('%#', (text, expected) => {
    expect(licencesOf(text)).toEqual(expected)
  }) // biome-ignore format: a table
})

describe('the licences of a Debian package', () => {
  test('are the short names of a machine-readable copyright file', () => {
    const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Somebody
License: GPL-2+ and Expat

Files: lib/*
License: LGPL-2.1+ or BSD-3-clause

License: BSD-3-Clause
 Redistribution and use …
`
    expect(debianLicences(copyright)).toEqual(['BSD-3-clause', 'Expat', 'GPL-2+', 'LGPL-2.1+'])
  })

  test('are the ones that an older file refers to or quotes', () => {
    const copyright = `On Debian systems the text is in /usr/share/common-licenses/GPL-2.\n${bsd}\n`
    expect(debianLicences(copyright)).toEqual(['BSD-2-Clause', 'GPL-2'])
  })
})

test('a bill of materials is a table whose columns line up', () => {
  const table = materialsTable([
    { name: 'containerd', version: 'v2.4.2', licence: 'Apache-2.0', kind: 'program' },
    { name: 'bash', version: '5.2', licence: 'GPL-3+', kind: 'debian' },
  ])
  expect(table).toBe(
    [
      'NAME        VERSION  KIND     LICENCE',
      'containerd  v2.4.2   program  Apache-2.0',
      'bash        5.2      debian   GPL-3+',
    ].join('\n'),
  )
})

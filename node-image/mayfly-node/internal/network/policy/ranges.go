package policy

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// blockRanges are the addresses that blocks mean, their exceptions taken out,
// for nftables takes no overlapping ranges.
func blockRanges(blocks []*networkingv1.IPBlock, is4 bool) []Range {
	var all []Range
	for _, block := range blocks {
		cidr, err := netip.ParsePrefix(block.CIDR)
		if err != nil || cidr.Addr().Is4() != is4 {
			continue
		}
		ranges := []Range{rangeOf(cidr)}
		for _, exception := range block.Except {
			// An exception of the other family takes nothing out.
			if except, err := netip.ParsePrefix(exception); err == nil && except.Addr().Is4() == is4 {
				ranges = without(ranges, rangeOf(except))
			}
		}
		all = append(all, ranges...)
	}
	return merge(all)
}

func everything(is4 bool) Range {
	if is4 {
		return rangeOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	return rangeOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

func rangeOf(prefix netip.Prefix) Range {
	first := prefix.Masked().Addr()
	last := first.AsSlice()
	for bit := prefix.Bits(); bit < first.BitLen(); bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Range{first, end}
}

func without(ranges []Range, except Range) []Range {
	var left []Range
	for _, r := range ranges {
		if except.Last.Less(r.First) || r.Last.Less(except.First) {
			left = append(left, r)
			continue
		}
		if r.First.Less(except.First) {
			left = append(left, Range{r.First, except.First.Prev()})
		}
		if except.Last.Less(r.Last) {
			left = append(left, Range{except.Last.Next(), r.Last})
		}
	}
	return left
}

func merge(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return a.First.Compare(b.First) })
	var merged []Range
	for _, r := range ranges {
		if n := len(merged); n > 0 && !touches(merged[n-1], r) {
			merged = append(merged, r)
		} else if n == 0 {
			merged = append(merged, r)
		} else if merged[n-1].Last.Less(r.Last) {
			merged[n-1].Last = r.Last
		}
	}
	return merged
}

// touches says that b, which starts no earlier than a, overlaps a or follows on it.
func touches(a, b Range) bool {
	return !a.Last.Less(b.First) || a.Last.Next() == b.First
}

// Package classad implements the ClassAd language: attribute lists whose values may be expressions,
// and the two-sided matching of one list against another.
//
// An [Expr] is parsed once, from the new syntax ([ParseExpr]) or from the old one of submit files and
// configuration ([ParseOldExpr]), and evaluated often. An [Ad] maps names, whose case does not
// matter, to expressions. The language is HTCondor's, as version 23.9 speaks it.
//
// Evaluation is three-valued and never fails: an unbound name gives Undefined, a type clash gives
// Error. Code that needs a yes or a no calls [Value.IsTrue]. Ads come from strangers, so that the size
// and depth of what is parsed, and the steps, depth and memory of an evaluation, are all bounded; an
// evaluation that goes beyond a bound, or that runs in a circle, gives Error.
//
// Speed comes from three things. An expression is compiled as it is parsed: names are interned, constants
// computed, common forms recognised, and its evaluation allocates nothing unless it makes strings, lists
// or ads. Ads of one kind share a table of their names, see shape. And [Match] keeps with each ad what
// its Requirements ask of others, which [Expr.Flatten] works out; nothing is kept of pairs of ads.
//
// The package does no I/O and depends on nothing but its input, apart from the language's own functions
// for the time, random numbers and home directories. Ads and expressions may be read concurrently, not
// while one is being changed. docs/classad.md describes the language.
package classad

package leakcheck

// Explain is explain, for rows that hold an object by its address only.
var Explain = explain

// ExplainSites is explainSites.
var ExplainSites = explainSites

// LeakProfileFound is leakProfileFound.
var LeakProfileFound = leakProfileFound

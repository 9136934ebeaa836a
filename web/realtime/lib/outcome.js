'use strict';

/** An outcome that is known at once. */
function settled(outcome) {
  return Promise.resolve(outcome);
}

/** What became of several events, as one: the worst of it. */
function together(outcomes) {
  const published = outcomes.flatMap((outcome) => outcome.published);
  const worst = ['failed', 'dropped'].map((status) => outcomes.find((outcome) => outcome.status === status));
  const bad = worst.find(Boolean);
  return bad ? { ...bad, published } : { status: 'published', published };
}

module.exports = { settled, together };

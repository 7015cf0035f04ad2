import type { NextConfig } from 'next';

const configuration: NextConfig = {
  turbopack: { root: import.meta.dirname },
};

export default configuration;
